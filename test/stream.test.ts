import { setImmediate } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GpuError } from '../src/core/errors.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { Pipeline } from '../src/gpu/pipeline.ts';
import { Profile } from '../src/gpu/profile.ts';
import { type BufferRange, CommandStream } from '../src/gpu/stream.ts';
import { gpuTest, messageOf, onDevice } from './gpu.ts';

/** Steps on a GPU whose work is done when it is said to be, by a clock that is set. */
interface Paper {
  /** Begins a step of so many dispatches. Returns how many submits it took. */
  begin(atMs: number, dispatches?: number): Promise<number>;
  /** Says that the work of the oldest step is done. */
  done(atMs: number): Promise<void>;
}

async function onPaper(cutsLongWork: boolean, run: (paper: Paper) => Promise<void>): Promise<void> {
  const { now } = performance;
  let nowMs = 0;
  const running: (() => void)[] = [];
  await onDevice({ adapter: 'null' }, async (gpu) => {
    const x = Tensor.full([4], 0);
    await step(() => x.fill(0));
    const stream = new CommandStream(gpu.device, cutsLongWork);
    Object.defineProperty(gpu, 'stream', { value: stream });
    const value = () => new Promise<void>((resolve) => running.push(resolve));
    Object.defineProperty(gpu.device.queue, 'onSubmittedWorkDone', { value, configurable: true });
    performance.now = () => nowMs;
    const begin = async (atMs: number, dispatches = 20) => {
      nowMs = atMs;
      const before = stream.stats.submits;
      void step(() => {
        for (let i = 0; i < dispatches; i++) x.fill(i);
      });
      await setImmediate();
      return stream.stats.submits - before;
    };
    const done = async (atMs: number) => {
      nowMs = atMs;
      running.shift()!();
      await setImmediate();
    };
    try {
      await run({ begin, done });
    } finally {
      performance.now = now;
      Reflect.deleteProperty(gpu.device.queue, 'onSubmittedWorkDone');
    }
  });
}

gpuTest('on hardware the first steps go in small submits, until one was timed', () =>
  onPaper(true, async ({ begin, done }) => {
    assert.is(await begin(0), 3);
    assert.is(await begin(1), 3);
    await done(100);
    assert.is(await begin(101), 1);
    await done(200);
    // Far more work than was ever seen to be short.
    assert.is(await begin(201, 100), 3);
    await done(300);
    await done(400);
    assert.is(await begin(401, 200), 1);
  }),
);

gpuTest('a step of almost nothing says nothing about a larger one', () =>
  onPaper(true, async ({ begin, done }) => {
    assert.is(await begin(0, 1), 1);
    await done(1);
    assert.is(await begin(2), 3);
  }),
);

gpuTest('steps are cut by the time of the GPU, not by what the host does between them', () =>
  onPaper(true, async ({ begin, done }) => {
    await begin(0);
    await done(100);
    assert.is(await begin(60_000), 1);
    await done(60_400);
    assert.is(await begin(120_000), 1);
    // Submitted while the one before runs: its own time is what it takes after that, 2 s.
    assert.is(await begin(120_001), 1);
    await done(120_400);
    await done(122_400);
    assert.is(await begin(122_500), 10);
    await done(122_600);
    assert.is(await begin(122_700), 1);
  }),
);

gpuTest('a step that has to be cut is cut as well after short ones of fewer dispatches, as validation has', () =>
  onPaper(true, async ({ begin, done }) => {
    await begin(0);
    await done(100);
    assert.is(await begin(101), 1);
    await done(4101);
    for (let atMs = 5000; atMs < 7000; atMs += 100) {
      await begin(atMs, 12);
      await done(atMs + 90);
    }
    assert.is(await begin(7000), 20);
    await done(7100);
    assert.is(await begin(7101), 1);
    await done(7200);
  }),
);

gpuTest('a step that is profiled is cut, too', () =>
  onDevice({}, async (gpu) => {
    const x = Tensor.full([4], 0);
    await step(() => x.fill(0));
    const submits: number[] = [];
    for (const cutsLongWork of [true, false]) {
      const stream = new CommandStream(gpu.device, cutsLongWork);
      stream.profile = new Profile();
      Object.defineProperty(gpu, 'stream', { value: stream, configurable: true });
      await step(() => {
        for (let i = 0; i < 20; i++) x.fill(i);
      });
      assert.is(stream.profile.calls, 20);
      assert.ok(stream.profile.rows().every(({ elapsedMs }) => elapsedMs > 0));
      submits.push(stream.stats.submits);
    }
    // By its clock; without one each dispatch has a submit of its own.
    if (gpu.device.features.has('timestamp-query')) assert.is(submits[0]! - submits[1]!, 2);
  }),
);

/** A stream on a device that only says what it is told to do. */
function onRecord() {
  const told: string[] = [];
  const tell = (what: string) => () => void told.push(what);
  const running: (() => void)[] = [];
  const pass = {
    setPipeline() {},
    setBindGroup() {},
    end() {},
    dispatchWorkgroups: (x: number) => told.push(`run ${x}`),
  };
  const device = {
    features: new Set(),
    limits: {},
    createBindGroup: () => ({}),
    createQuerySet: ({ count }: { count: number }) => tell(`${count} stamps`)(),
    createBuffer: () => ({
      mapAsync: async () => {},
      getMappedRange: (_: 0, size: number) => new ArrayBuffer(size),
      unmap() {},
    }),
    createCommandEncoder: () => ({
      beginComputePass: ({ timestampWrites }: GPUComputePassDescriptor = {}) => {
        if (timestampWrites) told.push(`stamp ${timestampWrites.endOfPassWriteIndex}`);
        return pass;
      },
      resolveQuerySet() {},
      copyBufferToBuffer: tell('copy'),
      clearBuffer: tell('clear'),
      finish: () => ({}),
    }),
    queue: {
      submit: tell('submit'),
      writeBuffer: tell('write'),
      onSubmittedWorkDone: () => new Promise<void>((resolve) => running.push(resolve)),
    },
  } as unknown as GPUDevice;
  const range = { pool: { id: 0, buffer: {}, sizeBytes: 256 }, offsetBytes: 0, sizeBytes: 256 } as BufferRange;
  return { told, running, range, tell, stream: new CommandStream(device, false) };
}

/** A pipeline that is compiled when the test says so. */
function pipelineOf(id: number) {
  let settle: { compiled(): void; refused(): void };
  const compiled = new Promise<void>((resolve, reject) => {
    settle = {
      compiled() {
        pipeline.handle = { getBindGroupLayout: () => ({}) } as never;
        resolve();
      },
      refused: () => reject(new GpuError(`${id} does not compile`)),
    };
  });
  compiled.catch(() => {});
  const pipeline = { id, label: '', handle: null, compiled } as unknown as Pipeline;
  return { pipeline, ...settle! };
}

test('what waits for its pipelines is submitted in its order, and one that does not compile keeps nothing else back', async () => {
  const { told, range, stream } = onRecord();
  const [first, second, third] = [0, 1, 2].map(pipelineOf);
  const flush = (pipeline: Pipeline, grid: number) => {
    stream.copy(range, range);
    stream.dispatch(pipeline, [], null, [grid, 1, 1]);
    return stream.flush().then(
      () => told.push(`done ${grid}`),
      ({ message }: Error) => told.push(message),
    );
  };
  const ends = [flush(first!.pipeline, 1), flush(second!.pipeline, 2)];
  third!.compiled();
  second!.compiled();
  await setImmediate();
  assert.equal([told, stream.idle], [[], false], 'the first one comes first');
  first!.refused();
  await ends[0];
  assert.is(stream.idle, false, 'the second one is under way');
  ends.push(flush(third!.pipeline, 3));
  await Promise.all(ends);
  const whole = (grid: number) => ['copy', `run ${grid}`, 'submit', `done ${grid}`];
  assert.equal(told, ['copy', 'submit', '0 does not compile', ...whole(2), ...whole(3)]);
  assert.ok(stream.idle);
});

test('no more than two steps are in flight', async () => {
  const { running, stream } = onRecord();
  let ended = 0;
  for (let i = 0; i < 2; i++) void stream.throttle().then(() => ended++);
  await setImmediate();
  assert.is(ended, 1, 'the second one waits for the first');
  running[0]!();
  await setImmediate();
  assert.is(ended, 2);
});

test('what writes and calls come after is submitted before them', async () => {
  const { told, range, tell, stream } = onRecord();
  stream.copy(range, range);
  stream.write(range, new Uint8Array(256));
  stream.clear(range);
  stream.afterwards(tell('call'));
  stream.write(range, new Uint8Array(256));
  stream.copy(range, range);
  await stream.flush();
  assert.equal(told, ['copy', 'submit', 'write', 'clear', 'submit', 'call', 'write', 'copy', 'submit']);
});

test('a capture that reads is refused, and nothing of it is left to the next one or to the stream', async () => {
  const { told, range, stream } = onRecord();
  const read = () => stream.capture(() => void stream.read(range).catch(() => {}));
  assert.throws(read, /^a tensor cannot be read while its work is only recorded/);
  assert.equal([stream.idle, stream.capturing, stream.refusing], [true, false, false]);
  const recording = stream.capture(() => {
    assert.equal([stream.idle, stream.capturing], [false, true]);
    stream.copy(range, range);
  });
  assert.is(stream.pending, 0);
  for (let i = 0; i < 2; i++) stream.replay(recording);
  await stream.flush();
  assert.equal(told, ['copy', 'copy', 'submit']);
});

test('more dispatches than the clock has stamps for are timed in turns', async () => {
  const { told, stream } = onRecord();
  stream.profile = new Profile();
  const { pipeline, compiled } = pipelineOf(0);
  compiled();
  Reflect.set(stream, 'device', { ...Reflect.get(stream, 'device'), features: new Set(['timestamp-query']) });
  const count = 5000;
  for (let i = 0; i < count; i++) stream.dispatch(pipeline, [], null, [1, 1, 1]);
  await stream.flush();
  assert.is(stream.profile.calls, count);
  const largest = (end: string) =>
    told
      .filter((what) => what.includes(end))
      .reduce((most, what) => Math.max(most, Number.parseInt(what.replace('stamp ', ''), 10)), 0);
  assert.is(largest('stamp '), largest(' stamps') - 1);
});

gpuTest('what results are read through takes a little memory, and none after a trim', () =>
  onDevice({}, async (gpu) => {
    let bytes = 0;
    let created = 0;
    const create = gpu.device.createBuffer.bind(gpu.device);
    const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
      const buffer = create(descriptor);
      if (descriptor.label !== 'staging') return buffer;
      bytes += descriptor.size;
      created++;
      const destroy = buffer.destroy.bind(buffer);
      buffer.destroy = () => {
        bytes -= descriptor.size;
        return destroy();
      };
      return buffer;
    };
    Object.defineProperty(gpu.device, 'createBuffer', { value: createBuffer });
    for (let i = 1; i <= 60; i++) {
      const x = Tensor.full([i * 10_000], i);
      assert.is((await x.read()).at(-1), i);
      x.free('the test');
    }
    assert.ok(bytes > 2 ** 21 && bytes <= 2 ** 25, `${bytes} bytes`);
    const made = [bytes, created];
    await Tensor.full([600_000], 1).read();
    assert.equal([bytes, created], made, 'one that waits is taken: what was used last is there');
    await Tensor.full([3], 1).read();
    assert.ok(created > made[1]!, 'but not one that is far too large');
    await gpu.trim();
    assert.is(bytes, 0);
    assert.is((await Tensor.full([3], 2).read())[2], 2);
  }),
);

const lost = /^Null backend: the device is lost \(destroyed\)/;

gpuTest('a device that is lost is told of in words, each time', async () => {
  const run = onDevice({ adapter: 'null' }, async (other) => {
    const pending = Tensor.zeros([4]).read();
    other.device.destroy();
    for (const read of [() => pending, () => Tensor.zeros([4]).read()]) {
      assert.match(await messageOf(read), /^a result cannot be read: the device is lost \(destroyed\)/);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
    for (let i = 0; i < 2; i++) assert.match(await messageOf(() => step(() => Tensor.zeros([4]))), lost);
  });
  assert.match(await messageOf(() => run), lost);
});

gpuTest('software adapters have no display to wait for them', () =>
  onPaper(false, async ({ begin, done }) => {
    assert.is(await begin(0), 1);
    await done(9000);
    assert.is(await begin(9001), 1);
  }),
);

test.run();
