import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MARK, type Message, type Task } from './serve.ts';

/** An engine that takes part in the comparison. */
export interface Engine {
  name: string;
  /** Its program in this folder. */
  program: string;
  /** Packages that it needs from the folder that `--packages` names. */
  needs: readonly string[];
  env?: Readonly<Record<string, string>>;
}

/** An engine in a process of its own, which waits between its rounds. */
export class Contestant {
  readonly times: number[] = [];
  version = '';
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;
  private lastError = '';

  constructor({ program, env }: Engine, { adapter, batch, width, packages }: Task) {
    const path = fileURLToPath(new URL(program, import.meta.url));
    const told = [adapter, String(batch), String(width), packages];
    const [command, args] = program.endsWith('.py')
      ? ['python3', [path, ...told]]
      : [process.execPath, ['--import', import.meta.resolve('tsx'), path, ...told]];
    this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.on('error', (error) => {
      this.lastError = error.message;
    });
    this.child.stdin!.on('error', () => {});
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      if (/\w*Error\b/.test(line)) this.lastError = line.trim();
    });
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  /** Waits until it has compiled what it needs. Throws when it ends or takes longer. */
  async ready(limitMs: number): Promise<void> {
    const message = await this.message(limitMs);
    if ('ready' in message) this.version = message.ready;
  }

  /** Has it time `steps` steps. Throws when it ends, takes longer, or computes nonsense. */
  async round(steps: number, limitMs: number): Promise<void> {
    this.child.stdin!.write(`${steps}\n`);
    const message = await this.message(limitMs);
    if (!('ms' in message)) return;
    if (!Number.isFinite(message.loss)) throw new Error(`its loss is ${message.loss ?? 'not a number'}`);
    this.times.push(...message.ms);
  }

  end(): void {
    this.child.kill('SIGKILL');
  }

  private async message(limitMs: number): Promise<Message> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`not done after ${(limitMs / 60_000).toPrecision(2)} minutes`)),
        limitMs,
      );
    });
    try {
      for (;;) {
        const { value, done } = await Promise.race([this.lines.next(), late]);
        if (done) throw new Error(`it ended: ${this.lastError || 'no reason given'}`);
        if (value.startsWith(MARK)) return JSON.parse(value.slice(MARK.length)) as Message;
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
