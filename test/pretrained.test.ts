// The .pth files are PyTorch's own: test/fixtures/pretrained.py wrote them.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '../src/core/errors.ts';
import { createModel, type ModelSettings } from '../src/models/index.ts';
import { type Module, readState } from '../src/nn/index.ts';
import { type ModelFacts, saveModel } from '../src/train/modelfile.ts';
import { IMAGENET, loadPretrained, type PretrainedTarget, readPretrained } from '../src/train/pretrained.ts';
import { type FileTensor, toF32, writeSafetensors } from '../src/train/safetensors.ts';
import { rejectsData, scratchFolder } from './files.ts';
import { scaled } from './fixtures/weights.ts';
import { gpuTest, messageOf } from './gpu.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const at = (name: string): string => join(scratch.path, name);
const fixturePath = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const zip = fixturePath('pretrained.pth');

const classes = ['a', 'b', 'c'];
const small = { classes: 3, size: 32, width: 1 / 64, head: 'fastai', seed: 5 } as const;
const target: PretrainedTarget = { arch: 'vgg11_bn', channels: 3, classes };
const network = (change: Partial<ModelSettings> = {}): Module => createModel('vgg11_bn', { ...small, ...change });

/** The fixture's tensors. */
const original = new Map(
  [...readPretrained(zip).tensors].filter(([name]) => !name.endsWith('num_batches_tracked')),
) as ReadonlyMap<string, FileTensor>;

/** A safetensors file of the fixture's tensors, after `change`. */
function changed(name: string, change: (tensors: Map<string, FileTensor>) => void): string {
  const tensors = new Map(original);
  change(tensors);
  writeSafetensors(at(name), tensors);
  return at(name);
}
const zeros = (...shape: number[]): FileTensor => ({
  dtype: 'F32',
  shape,
  data: new Float32Array(shape.reduce((size, extent) => size * extent, 1)),
});
const plain = changed('plain.safetensors', () => {});

test('the fixture holds what its script says', () => {
  assert.is(original.size, 8 * 6 + 6);
  for (const [t, [name, tensor]] of [...original].entries()) {
    const [centre, spread] = name.endsWith('running_var') ? [1, 0.5] : [0, 1];
    assert.equal(toF32(tensor), scaled(7, t, tensor.data.length, centre, spread), name);
  }
});

for (const [what, path] of [
  ['.pth in the zip format', zip],
  ['.pth in the format of before 2020, without num_batches_tracked', fixturePath('pretrained_legacy.pth')],
  ['.safetensors', plain],
] as const) {
  gpuTest(`the body comes from a ${what}, running statistics included; the head stays new`, async () => {
    const model = network();
    const before = await readState(model);
    const record = loadPretrained(model, readPretrained(path), target);
    assert.equal([record.tensors, record.head, record.path, record.normalisation], [48, 'new', path, IMAGENET]);
    for (const [name, { data, shape }] of await readState(model)) {
      if (name.startsWith('classifier.')) assert.equal(data, before.get(name)!.data, name);
      else {
        assert.equal([...shape], original.get(name)!.shape, name);
        assert.equal(data, toF32(original.get(name)!), name);
      }
    }
  });
}

test('which format it is, the content says and not the name', () => {
  const renamed = scratch.write('weights.safetensors', readFileSync(zip));
  assert.is(readPretrained(renamed).tensors.size, readPretrained(zip).tensors.size);
});

gpuTest('a head that fits tensor by tensor is loaded, for the same classes as far as is known', async () => {
  const ten = Array.from({ length: 10 }, (_, i) => `class ${i}`);
  const settings = { classes: 10, head: 'vgg', pool: 7 } as const;
  // The fixture's hidden layers are narrower than ours of any width.
  const model = network(settings);
  const hidden = model.parameters().get('classifier.0.weight')!.shape[0]!;
  const fitting = changed('fitting.safetensors', (tensors) => {
    tensors.set('classifier.0.weight', zeros(hidden, 8 * 49));
    tensors.set('classifier.0.bias', zeros(hidden));
    tensors.set('classifier.3.weight', zeros(hidden, hidden));
    tensors.set('classifier.3.bias', zeros(hidden));
    tensors.set('classifier.6.weight', zeros(10, hidden));
  });
  assert.is(loadPretrained(model, readPretrained(fitting), { ...target, classes: ten }).head, 'loaded');
  assert.equal((await readState(model)).get('classifier.6.bias')!.data, toF32(original.get('classifier.6.bias')!));
  // One tensor of another size, and none of the head is taken.
  assert.is(loadPretrained(network({ ...settings, classes: 9 }), readPretrained(fitting), target).head, 'new');
  assert.is(loadPretrained(network({ ...settings, pool: 1 }), readPretrained(fitting), target).head, 'new');
});

gpuTest('the model of a run brings its normalisation, and its head where the classes are the same', async () => {
  const facts: ModelFacts = {
    ...{ arch: 'vgg11_bn', options: { ...small, channels: 3, pool: 1 }, classes },
    normalisation: { mean: [0.3, 0.4, 0.5], std: [0.1, 0.2, 0.3] },
  };
  const trained = network({ seed: 9 });
  await saveModel(at('model.safetensors'), trained, facts, 3);
  const file = readPretrained(at('model.safetensors'));
  const model = network();
  const { head, normalisation, tensors } = loadPretrained(model, file, target);
  assert.equal([head, normalisation, tensors], ['loaded', facts.normalisation, model.state().size]);
  assert.equal(await readState(model), await readState(trained));

  const other = network();
  const before = await readState(other);
  assert.is(loadPretrained(other, file, { ...target, classes: ['a', 'c', 'b'] }).head, 'new');
  const after = await readState(other);
  assert.equal(after.get('classifier.6.weight'), before.get('classifier.6.weight'));
  assert.not.equal(after.get('features.0.weight'), before.get('features.0.weight'));

  const resnet = createModel('resnet18', { classes: 3, size: 32, width: 1 / 64 });
  const refusal = await messageOf(() => loadPretrained(resnet, file, { ...target, arch: 'resnet18' }));
  assert.match(refusal, /^\S+model\.safetensors: holds a vgg11_bn, not a resnet18\. Give arch vgg11_bn\.$/);
  assert.throws(
    () => loadPretrained(resnet, file, { ...target, arch: 'resnet18' }),
    (error: unknown) => error instanceof ConfigError,
  );
  const wide = createModel('vgg11_bn', { ...small, width: 0.5 });
  await rejectsData(
    () => loadPretrained(wide, file, target),
    `${at('model.safetensors')}: tensor 'features.0.weight' is [8,3,3,3] but the network's is [32,3,3,3].`,
    /Give width 0\.015625\.$/,
  );
});

gpuTest('a 1-channel stem takes the sum of RGB weights, and the mean of the normalisation', async () => {
  const model = network({ channels: 1 });
  const { normalisation } = loadPretrained(model, readPretrained(zip), { ...target, channels: 1 });
  const { data, shape } = (await readState(model)).get('features.0.weight')!;
  assert.equal([...shape], [8, 1, 3, 3]);
  const rgb = toF32(original.get('features.0.weight')!);
  for (const [i, value] of data.entries()) {
    const [k, place] = [Math.floor(i / 9), i % 9];
    const sum = [0, 1, 2].reduce((total, c) => total + rgb[(3 * k + c) * 9 + place]!, 0);
    assert.ok(Math.abs(value - sum) < 1e-6);
  }
  assert.ok(Math.abs(normalisation.mean[0]! - 0.449) < 1e-12 && Math.abs(normalisation.std[0]! - 0.226) < 1e-12);
  assert.equal([normalisation.mean.length, normalisation.std.length], [1, 1]);

  const gray = changed('gray.safetensors', (tensors) => tensors.set('features.0.weight', zeros(8, 1, 3, 3)));
  await rejectsData(() => loadPretrained(network(), readPretrained(gray), target), gray, /Give channels 1\.$/);
});

gpuTest('fast.ai’s names are taken for torchvision’s', async () => {
  const fastai = network({ seed: 11 });
  const tensors = new Map<string, FileTensor>();
  for (const [name, { data, shape }] of await readState(fastai)) {
    const numbered = name
      .replace(/^features\./, '0.0.')
      .replace(/^classifier\.(\d+)\./, (_, layer) => `1.${Number(layer) + 2}.`);
    tensors.set(numbered, { dtype: 'F32', shape: [...shape], data });
  }
  assert.ok(tensors.has('0.0.0.weight') && tensors.has('1.8.weight'));
  writeSafetensors(at('fastai.safetensors'), tensors);
  const model = network();
  assert.is(loadPretrained(model, readPretrained(at('fastai.safetensors')), target).head, 'loaded');
  assert.equal(await readState(model), await readState(fastai));

  const names = ['0.0.weight', '0.4.0.conv1.weight', '0.7.1.bn2.running_var'];
  const resnet = createModel('resnet18', { classes: 3, size: 32, width: 1 / 64, head: 'fastai' });
  const numbers = { conv1: 0, bn1: 1, layer1: 4, layer2: 5, layer3: 6, layer4: 7 };
  const residual = new Map<string, FileTensor>();
  for (const [name, { data, shape }] of await readState(resnet)) {
    const [first, ...rest] = name.split('.') as [keyof typeof numbers | 'fc', ...string[]];
    const key = first === 'fc' ? `1.${Number(rest[0]) + 2}` : `0.${numbers[first]}`;
    residual.set([key, ...(first === 'fc' ? rest.slice(1) : rest)].join('.'), {
      dtype: 'F32',
      shape: [...shape],
      data,
    });
  }
  for (const name of names) assert.ok(residual.has(name), name);
  writeSafetensors(at('resnet.safetensors'), residual);
  const into = createModel('resnet18', { classes: 3, size: 32, width: 1 / 64, head: 'fastai', seed: 2 });
  loadPretrained(into, readPretrained(at('resnet.safetensors')), { ...target, arch: 'resnet18' });
  assert.equal(await readState(into), await readState(resnet));
});

gpuTest('a tensor that is missing, left over or of another shape is named, and nothing is written', async () => {
  const model = network();
  const before = await readState(model);
  const refused = (path: string, pattern: RegExp) =>
    rejectsData(() => loadPretrained(model, readPretrained(path), target), `${path}: `, pattern);
  await refused(
    changed('missing.safetensors', (tensors) => tensors.delete('features.26.running_var')),
    /tensor 'features\.26\.running_var' of vgg11_bn is missing\. Give a file of vgg11_bn, or the file's arch\.$/,
  );
  await refused(
    changed('extra.safetensors', (tensors) => tensors.set('features.29.weight', zeros(3))),
    /tensor 'features\.29\.weight' is not in vgg11_bn \(1 such\)\. Give a file of vgg11_bn/,
  );
  await refused(
    changed('optimizer.safetensors', (tensors) => tensors.set('optimizer.0.features.0.weight', zeros(3))),
    /tensor 'optimizer\.0\.features\.0\.weight' is not in vgg11_bn/,
  );
  await refused(
    changed('wide.safetensors', (tensors) => tensors.set('features.4.weight', zeros(16, 8, 3, 3))),
    /tensor 'features\.4\.weight' is \[16,8,3,3\] but the network's is \[8,8,3,3\]\. Give the file's width, which is 1 for torchvision's/,
  );
  assert.equal(await readState(model), before);
});

test('what holds no weights is refused in a line', async () => {
  const refused = (path: string, ...patterns: RegExp[]) => rejectsData(() => readPretrained(path), path, ...patterns);
  await refused(at('none.pth'), /no such file\. Check the path\.$/);
  await refused(scratch.path, /is a folder/);
  await refused(scratch.write('text.pth', 'these are no weights at all'), /not a safetensors file/);
  await refused(scratch.write('empty.pth', ''), /is empty/);
  await refused(scratch.write('short.pth', 'PK'), /as a file of PyTorch's, the archive is damaged/);
  await refused(scratch.write('pickle.pth', Uint8Array.of(0x80, 4, 0x2e)), /as a file of PyTorch's/);
  writeFileSync(at('cut.pth'), new Uint8Array(20_000).fill(0x50));
  await refused(at('cut.pth'), /cut\.pth: /);
});

test.run();
