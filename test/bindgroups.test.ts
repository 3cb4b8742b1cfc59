// Bind groups and uniforms, on a device that only counts.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BindGroupCache, type Binding } from '../src/gpu/bindgroups.ts';
import type { Pipeline } from '../src/gpu/pipeline.ts';
import type { PoolBuffer } from '../src/gpu/pool.ts';
import { UniformCache } from '../src/gpu/uniforms.ts';

function fakeDevice() {
  const buffers: { size: number }[] = [];
  const device = {
    limits: { maxStorageBufferBindingSize: 2 ** 20 },
    createBuffer: ({ size }: { size: number }) => {
      const buffer = { size };
      buffers.push(buffer);
      return buffer;
    },
    queue: { writeBuffer: () => {} },
  } as unknown as GPUDevice;
  const uniforms = new UniformCache(device);
  return { buffers, uniforms, groups: new BindGroupCache(device, uniforms) };
}

const [one, other] = [0, 1].map((id) => ({ id }) as Pipeline) as [Pipeline, Pipeline];
const [x, y] = [0, 1].map((id) => ({ id, sizeBytes: 4096 }) as PoolBuffer) as [PoolBuffer, PoolBuffer];
const at = (binding: number, pool = x, offsetBytes = 0, sizeBytes = 256): Binding => ({
  binding,
  range: { pool, offsetBytes, sizeBytes },
});
const words = (...values: number[]): Uint32Array => Uint32Array.from(values);

type Asked = [pipeline: Pipeline, bindings: Binding[], params: Uint32Array];
const usual: Asked = [one, [at(0), at(1, y)], words(1, 2, 3, 4)];
const different: Asked[] = [
  [other, usual[1], usual[2]],
  [one, [at(0), at(2, y)], usual[2]],
  [one, [at(0), at(1, x)], usual[2]],
  [one, [at(0), at(1, y, 256)], usual[2]],
  [one, [at(0), at(1, y, 0, 512)], usual[2]],
  [one, usual[1], words(5, 2, 3, 4)],
  [one, usual[1], words(1, 2, 3, 5)],
  [one, usual[1], words(12, 3, 4, 0)],
  [one, usual[1], words(1, 23, 4, 0)],
];

test('what is bound is one object where all of it is equal, be it expected or not', () => {
  const { groups } = fakeDevice();
  const first = groups.get(other, [at(0)], words());
  const second = groups.get(...usual);
  const found = new Set([second]);
  for (const asked of different) {
    assert.is(groups.get(other, [at(0)], words()), first);
    assert.is(groups.get(...usual), second, 'as it came before');
    // `usual` is what is expected.
    assert.is(groups.get(other, [at(0)], words()), first);
    const bound = groups.get(...asked);
    assert.equal([bound.pipeline, bound.bindings, bound.params], asked);
    assert.is(groups.get(...asked), bound);
    found.add(bound);
  }
  assert.is(found.size, 1 + different.length);
});

test('of what is asked with nothing is kept that the caller may change', () => {
  const { groups } = fakeDevice();
  const [bindings, params] = [[at(0), at(1, y)], words(1, 2, 3, 4)];
  const bound = groups.get(one, bindings, params);
  bindings[1] = at(1, x);
  params[0] = 9;
  assert.is(groups.get(...usual), bound);
  assert.equal([bound.bindings, bound.params], [usual[1], usual[2]]);
});

test('once buffers are destroyed nothing of before is expected or found', () => {
  const { groups } = fakeDevice();
  const first = groups.get(...usual);
  const second = groups.get(...different[0]!);
  groups.get(...usual);
  assert.is(groups.expected, other);
  groups.forget();
  assert.equal([groups.expected, groups.latest], [null, null]);
  assert.is.not(groups.get(...different[0]!), second);
  assert.is.not(groups.get(...usual), first);
});

test('neither bind groups nor uniforms pile up without end', () => {
  const { groups, uniforms } = fakeDevice();
  const first = groups.get(...usual);
  for (let i = 0; i < 20_000; i++) groups.get(one, [at(0, x, 256 * i)], words());
  assert.is.not(groups.get(...usual), first);
  const slot = uniforms.slot(words(0));
  assert.is(uniforms.slot(words(0)), slot);
  for (let i = 1; i <= 65_536; i++) uniforms.slot(words(i));
  assert.is.not(uniforms.slot(words(0)), slot);
});

test('each content has a place of its own in a buffer that holds it', () => {
  const { buffers, uniforms } = fakeDevice();
  const places = new Set<string>();
  for (let i = 0; i < 600; i++) {
    const { buffer, offsetBytes, sizeBytes } = uniforms.slot(Uint32Array.from({ length: 64 }, () => i));
    assert.is(sizeBytes, 256);
    assert.ok(offsetBytes % 256 === 0 && offsetBytes + sizeBytes <= buffer.size, `${offsetBytes}`);
    places.add(`${buffers.indexOf(buffer)} ${offsetBytes}`);
  }
  assert.equal([places.size, buffers.length], [600, 3]);
});

test.run();
