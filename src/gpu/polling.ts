type Starter = (...args: unknown[]) => unknown;
type Classes = Readonly<Record<string, { prototype: Record<string, Starter> } | undefined>>;

/** Every WebGPU method whose promise Dawn has to poll for. */
const starters = [
  ['GPUBuffer', 'mapAsync'],
  ['GPUQueue', 'onSubmittedWorkDone'],
  ['GPUDevice', 'popErrorScope'],
  ['GPUDevice', 'createComputePipelineAsync'],
  ['GPUDevice', 'createRenderPipelineAsync'],
  ['GPUShaderModule', 'getCompilationInfo'],
] as const;

/**
 * How long to spin before the first sleep: a small readback is done by then, and a timer would cost it a millisecond. Windows' timers
 * tick every 15.6 ms, longer than the batches of runs by which kernels are compared.
 */
const spinMs = { win32: 20, elsewhere: 0.5 };

const calmed = new WeakSet<Classes>();

/**
 * Lets Dawn sleep between two looks at a pending promise, for adapters that compute on this machine's own cores.
 *
 * dawn.node asks whether the GPU is done from `setImmediate` callbacks, back to back, which keeps one core busy for
 * nothing: on a software adapter, a core that the kernels could use. It looks `globalThis.setImmediate` up anew each
 * time, and only while one of the methods above, or its own callback, is on the stack. So the global is replaced during
 * those calls, and back in place before any other code runs: timers of the program are never touched.
 * Source: dawn/src/dawn/node/binding/AsyncRunner.cpp.
 */
export function calmPolling(classes: Classes): void {
  if (calmed.has(classes)) return;
  calmed.add(classes);
  const spin = globalThis.setImmediate;
  const sleep = globalThis.setTimeout;
  const patienceMs = process.platform === 'win32' ? spinMs.win32 : spinMs.elsewhere;
  let sinceMs = 0;

  const schedule = (poll: () => void) => {
    const next = () => calmly(poll);
    return performance.now() - sinceMs < patienceMs ? spin(next) : sleep(next, 1);
  };
  function calmly<T>(call: () => T): T {
    const before = globalThis.setImmediate;
    globalThis.setImmediate = schedule as unknown as typeof setImmediate;
    try {
      return call();
    } finally {
      globalThis.setImmediate = before;
    }
  }

  for (const [className, method] of starters) {
    const prototype = classes[className]?.prototype;
    const start = prototype?.[method];
    if (!prototype || !start) continue;
    prototype[method] = function (this: unknown, ...args: unknown[]) {
      sinceMs = performance.now();
      return calmly(() => start.apply(this, args));
    };
  }
}
