import { GpuError } from '../core/errors.ts';
import { debug } from './debug.ts';
import { type Mentions, mentions, type Shader, workgroupSize } from './interface.ts';
import { type Consts, loadShader, type ShaderSource } from './shader.ts';

/** A compute pipeline, compiled in the background: `handle` is null until `compiled` settles. */
export interface Pipeline {
  readonly id: number;
  /** `conv2d.forward TILE_M=8 …`: what profiles and error messages show. */
  readonly label: string;
  readonly shader: Shader;
  /** Which of the shader's bindings it has: with any other set of them Dawn, whose validation is off, ends the process. */
  readonly mentions: Mentions;
  readonly workgroup: readonly [number, number, number];
  /** What it was made of. */
  readonly name: string;
  readonly entry: string;
  readonly consts: Consts;
  handle: GPUComputePipeline | null;
  readonly compiled: Promise<void>;
}

/** Pipelines by shader, entry point and constants; each is compiled once, on Dawn's worker threads. */
export class PipelineCache {
  private readonly pipelines = new Map<string, Pipeline>();
  private readonly defined = new Map<string, string>();
  private readonly device: GPUDevice;
  private readonly source: ShaderSource;
  private readonly adapterName: string;

  constructor(device: GPUDevice, source: ShaderSource, adapterName: string) {
    this.device = device;
    this.source = source;
    this.adapterName = adapterName;
  }

  get size(): number {
    return this.pipelines.size;
  }

  /**
   * Adds a shader that the source does not have: its text under the name that `get` takes; it may `//#include` the source's own.
   * Throws GpuError when the name has another text already.
   */
  define(name: string, code: string): void {
    const before = this.defined.get(name);
    if (before === code) return;
    if (before !== undefined || this.has(name)) {
      throw new GpuError(`there is another shader named '${name}' already; give yours a name of its own.`);
    }
    this.defined.set(name, code);
  }

  /** `guess` is a pipeline that is likely to be the one. */
  get(name: string, entry: string, consts: Consts, guess: Pipeline | null = null): Pipeline {
    if (guess && guess.name === name && guess.entry === entry && sameConsts(guess.consts, consts)) return guess;
    let label = `${name}.${entry}`;
    for (const key in consts) label += ` ${key}=${consts[key]}`;
    const cached = this.pipelines.get(label);
    if (cached) return cached;
    const own = this.defined.get(name);
    const shader = loadShader(name, consts, (path) =>
      own !== undefined && path === `${name}.wgsl` ? own : this.source(path),
    );
    debug(4, () => `// ${label}\n${shader.code}`);
    if (/^enable f16;$/m.test(shader.code) && !this.device.features.has('shader-f16')) {
      throw new GpuError(`${label}: ${this.adapterName} has no shader-f16. Use f32, or an adapter that has it.`);
    }
    const pipeline: Pipeline = {
      id: this.pipelines.size,
      label,
      shader,
      mentions: mentions(shader, entry),
      workgroup: workgroupSize(shader, entry),
      name,
      entry,
      consts: { ...consts },
      handle: null,
      compiled: this.compile(shader, entry, label).then((handle) => {
        pipeline.handle = handle;
      }),
    };
    // A failure is thrown where the pipeline is first used; this keeps it from being an unhandled rejection until then.
    pipeline.compiled.catch(() => {});
    this.pipelines.set(label, pipeline);
    return pipeline;
  }

  private has(name: string): boolean {
    try {
      this.source(`${name}.wgsl`);
      return true;
    } catch {
      return false;
    }
  }

  private async compile(shader: Shader, entryPoint: string, label: string): Promise<GPUComputePipeline> {
    // The scope takes the error that is thrown below, which would come up once more as one of the device.
    this.device.pushErrorScope('validation');
    const module = this.device.createShaderModule({ label, code: shader.code });
    void this.device.popErrorScope();
    // Asked first: with validation off, Dawn ends the process when a pipeline is made of a module that did not compile.
    const { messages } = await module.getCompilationInfo();
    const errors = messages.filter(({ type }) => type === 'error');
    const refuse = (reason: string) => new GpuError(`${label} does not compile on ${this.adapterName}: ${reason}`);
    if (errors.length > 0) throw refuse(errors.map((m) => excerpt(shader.code, m.lineNum, m.message)).join('\n'));
    try {
      return await this.device.createComputePipelineAsync({ label, layout: 'auto', compute: { module, entryPoint } });
    } catch (error) {
      throw refuse((error as Error).message);
    }
  }
}

function sameConsts(a: Consts, b: Consts): boolean {
  let count = 0;
  for (const key in a) {
    if (a[key] !== b[key]) return false;
    count++;
  }
  for (const _ in b) count--;
  return count === 0;
}

/** Three lines of source around an error, the line itself marked. */
function excerpt(code: string, lineNumber: number, message: string): string {
  const lines = code.split('\n');
  const from = Math.max(0, lineNumber - 4);
  const shown = lines.slice(from, lineNumber + 3).map((line, i) => {
    const number = from + i + 1;
    return `${number === lineNumber ? '>' : ' '} ${String(number).padStart(4)} | ${line}`;
  });
  return `${message}\n${shown.join('\n')}`;
}
