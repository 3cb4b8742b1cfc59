import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MemoryError } from '../src/core/errors.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { BufferPool, type Checked, type PoolBuffer, sizeClass } from '../src/gpu/pool.ts';
import { messageOf, onDevice } from './gpu.ts';

/** A device that only counts. */
function fakeDevice(maxBufferSize = 2 ** 30, checked?: Checked) {
  const destroyed: number[] = [];
  const device = {
    limits: { maxBufferSize },
    createBuffer: ({ size }: { size: number }) => ({ size, destroy: () => destroyed.push(size) }),
  };
  return { pool: new BufferPool(device as unknown as GPUDevice, checked), destroyed };
}

test('size classes hold what they are for, waste an eighth or 1 MiB at most, and are multiples of 256', () => {
  for (let sizeBytes = 1; sizeBytes < 2 ** 33; sizeBytes = Math.ceil(sizeBytes * 1.01)) {
    for (const size of [sizeBytes, 2 ** Math.round(Math.log2(sizeBytes))]) {
      const rounded = sizeClass(size);
      assert.ok(rounded >= size && rounded % 256 === 0, `${size} to ${rounded}`);
      assert.ok(rounded - size < Math.max(256, Math.min(size / 8, 2 ** 20) + 1), `${size} to ${rounded}`);
      assert.is(sizeClass(rounded), rounded);
    }
  }
});

test('the free buffer of a class with the lowest id is lent first', () => {
  const { pool } = fakeDevice();
  const [a, b, c] = [pool.acquire(1000), pool.acquire(1000), pool.acquire(1000)];
  assert.equal([a.id, b.id, c.id], [0, 1, 2]);
  for (const buffer of [b, c, a]) pool.release(buffer);
  assert.equal([pool.acquire(900).id, pool.acquire(1024).id, pool.acquire(1000).id], [0, 1, 2]);
  assert.is(pool.acquire(1000).id, 3);
});

test('buffers of another class are not lent', () => {
  const { pool } = fakeDevice();
  pool.release(pool.acquire(100_000));
  assert.is(pool.acquire(1000).id, 1);
});

test('what is lent, allocated and was the most is counted', () => {
  const { pool, destroyed } = fakeDevice();
  const a = pool.acquire(256);
  const b = pool.acquire(512);
  assert.equal(pool.stats, { liveBytes: 768, allocatedBytes: 768, peakBytes: 768, created: 2 });
  pool.release(a);
  assert.equal(pool.stats, { liveBytes: 512, allocatedBytes: 768, peakBytes: 768, created: 2 });
  pool.trim();
  assert.equal(destroyed, [256]);
  assert.equal(pool.stats, { liveBytes: 512, allocatedBytes: 512, peakBytes: 768, created: 2 });
  pool.resetPeak();
  assert.is(pool.stats.peakBytes, 512);
  pool.release(b);
  assert.is(pool.acquire(256).id, 2);
});

test('where memory has run out the smallest larger buffer is spared, else what lies idle is told of, if it is enough', () => {
  let full = false;
  const checked: Checked = (make) => {
    if (full) throw new MemoryError('its memory ran out.');
    return make();
  };
  const { pool } = fakeDevice(2 ** 30, checked);
  const [large, small, a, b] = [16_384, 8192, 2048, 2048].map((size) => pool.acquire(size)) as PoolBuffer[];
  for (const buffer of [large!, small!, a!]) pool.release(buffer);
  full = true;
  assert.equal([pool.acquire(4096), pool.acquire(4096)], [small, large]);
  assert.throws(() => pool.acquire(4096), /^its memory ran out\.$/);
  pool.release(b!);
  assert.throws(() => pool.acquire(4096), /its memory ran out\. Or run the step again: 4 KiB that lie idle/);
});

test('what is discarded counts no more, and comes back to nobody', () => {
  const { pool, destroyed } = fakeDevice();
  const buffer = pool.acquire(1024);
  pool.discard(buffer);
  assert.equal([destroyed, pool.stats.liveBytes, pool.stats.allocatedBytes], [[1024], 0, 0]);
  assert.is.not(pool.acquire(1024), buffer);
});

test('a buffer that is free says so, and one that is destroyed', () => {
  const { pool } = fakeDevice();
  const buffer = pool.acquire(1024);
  assert.is(buffer.state, 'lent');
  pool.release(buffer);
  assert.is(buffer.state, 'free');
  pool.trim();
  assert.is(buffer.state, 'destroyed');
});

test('the largest buffer of the adapter is the limit, to the last four numbers, which are bound together', () => {
  const limit = 2 ** 27 - 4;
  const { pool } = fakeDevice(limit);
  assert.is(pool.acquire(2 ** 27 - 20).sizeBytes, 2 ** 27 - 16);
  assert.throws(
    () => pool.acquire(2 ** 27 - 15),
    /^a tensor of 128 MiB does not fit this adapter, whose largest buffer is 128 MiB\. Use a smaller batch/,
  );
});

test('memory that has run out is told of at once and no more, and what was made before is still of use', () =>
  onDevice({ adapter: 'null' }, async (gpu) => {
    const held: Tensor[] = [];
    // Dawn's null backend has half a gibibyte.
    const fill = () => {
      while (held.length < 9) held.push(Tensor.empty([2 ** 24]));
    };
    for (let i = 0; i < 2; i++) {
      assert.throws(fill, /^Null backend: its memory ran out \(.*\)\. Use a smaller batch, size or width\.$/);
      await new Promise((resolve) => setTimeout(resolve, 5));
      gpu.check();
      assert.is(gpu.pool.stats.allocatedBytes, 2 ** 26 * held.length);
      held.pop()!.free('the test');
      await gpu.trim();
      held.push(Tensor.empty([2 ** 24]));
    }
    for (const tensor of held) tensor.free('the test');
  }));

test('after memory has run out, the next step has what lies idle', () =>
  onDevice({ adapter: 'null' }, async (gpu) => {
    // Dawn's null backend has half a gibibyte.
    const use = (count: number, size: number) =>
      step(() => void Array.from({ length: count }, () => Tensor.empty([size])));
    await use(6, 2 ** 24);
    assert.match(await messageOf(() => use(12, 2 ** 23)), /its memory ran out/);
    await use(12, 2 ** 23);
    assert.ok(gpu.pool.stats.allocatedBytes < 12.1 * 2 ** 25);
    const said = /Or run the step again: 384 MiB that lie idle are given back before\.$/;
    assert.match(await messageOf(() => use(6, 2 ** 24)), said);
    await use(6, 2 ** 24);
    assert.ok(gpu.pool.stats.allocatedBytes < 6.1 * 2 ** 26);
  }));

test('where there is no memory for a new buffer, a larger one that lies idle does', () =>
  onDevice({ adapter: 'null' }, async ({ pool }) => {
    // Of half a gibibyte.
    const large = Array.from({ length: 7 }, () => pool.acquire(2 ** 26));
    for (const buffer of large.slice(0, 3)) pool.release(buffer);
    const small = Array.from({ length: 5 }, () => pool.acquire(2 ** 25));
    assert.equal(
      small.map(({ sizeBytes }) => sizeBytes / 2 ** 20),
      [32, 32, 64, 64, 64],
    );
    assert.is(pool.stats.liveBytes / 2 ** 20, 8 * 64);
  }));

test.run();
