import { MARK, type Message } from './messages.ts';
import { type Statistics, statisticsOf } from './statistics.ts';
import { type Waits, waitsOf } from './waits.ts';

/** What a compiler made of a kernel. */
export interface Compiled extends Statistics {
  /** `matmul_tile.main` */
  kernel: string;
  /** What it was specialised by: `BM=64 BN=64 …`. */
  consts: string;
  /** Of the matrix kernels: the name that plans have for it. */
  variant: string;
  /** What needed it first. */
  problem: string;
  /** Null where nothing is multiplied in a loop with loads, or nothing is known of it. */
  waits: Waits | null;
}

/** Reads what a child and the driver in it print, line by line. */
export class Reader {
  adapter: string | null = null;
  driver = '';
  done = false;
  readonly kernels: Compiled[] = [];
  /** What did not compile, and why. */
  readonly failures: string[] = [];
  /** The last line of the driver's or Node's own that stood outside of kernels: why the child ended, where it is not done. */
  lastLine = '';
  /** The kernel that is being compiled. */
  compiling: { label: string; variant: string; problem: string } | null = null;
  private printed: string[] = [];

  read(line: string): void {
    if (line.startsWith(MARK)) this.take(JSON.parse(line.slice(MARK.length)) as Message);
    else if (this.compiling) this.printed.push(line);
    else if (line.trim()) this.lastLine = line.trim();
  }

  private take(message: Message): void {
    if ('adapter' in message) {
      this.adapter = message.adapter;
      this.driver = message.driver;
    } else if ('begin' in message) {
      this.compiling = { label: message.begin, variant: message.variant, problem: message.problem };
      this.printed = [];
    } else if ('end' in message) {
      if (message.compiled) this.finish();
      this.compiling = null;
    } else if ('failed' in message) {
      this.failures.push(`${message.failed}: ${message.why}`);
    } else {
      this.done = true;
    }
  }

  private finish(): void {
    const { label, variant, problem } = this.compiling!;
    const [kernel = '', ...consts] = label.split(' ');
    const statistics = statisticsOf(this.printed);
    const waits = waitsOf(this.printed);
    if (statistics) this.kernels.push({ kernel, consts: consts.join(' '), variant, problem, ...statistics, waits });
    else this.failures.push(`${label}: the driver printed no statistics`);
  }
}
