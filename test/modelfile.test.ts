import { existsSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createModel, type ModelOptions } from '../src/models/index.ts';
import { readState } from '../src/nn/index.ts';
import { loadModel, type ModelFacts, readModelFile, saveModel } from '../src/train/modelfile.ts';
import { readPretrained } from '../src/train/pretrained.ts';
import { readSafetensors, writeSafetensors } from '../src/train/safetensors.ts';
import { rejectsData, scratchFolder } from './files.ts';
import { gpuTest, messageOf } from './gpu.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());

const options: ModelOptions = { classes: 2, channels: 3, size: 32, width: 1 / 16, head: 'fastai', pool: 1, seed: 1 };
const facts: ModelFacts = {
  ...{ arch: 'vgg11_bn', options, classes: ['cat', 'dog'] },
  ...{ normalisation: { mean: [0.4, 0.5, 0.6], std: [0.2, 0.2, 0.3] }, storedSide: 48, storedChannels: 1 as const },
  augment: 'fastai',
  trainedOn: { images: 'a hash', valid: '20%', seed: 3, limit: 40 },
  startedFrom: [{ images: 'another', seed: 4 }],
  draws: [7, 1],
};
const file = `${scratch.path}/model.safetensors`;

gpuTest('a model file is read back as it was saved, with PyTorch’s counters', async () => {
  const model = createModel(facts.arch, { ...options, seed: 7 });
  await saveModel(file, model, facts, 12);
  const loaded = loadModel(file);
  assert.equal(loaded.facts, facts);
  assert.equal(await readState(loaded.model), await readState(model));
  assert.not(loaded.model.training);
  const counter = readSafetensors(file).tensors.get('features.1.num_batches_tracked')!;
  assert.equal([counter.dtype, counter.shape, [...(counter.data as BigInt64Array)]], ['I64', [], [12n]]);
});

/** The same tensors with other metadata. */
function withMetadata(metadata: Record<string, string>): string {
  const path = `${scratch.path}/other.safetensors`;
  writeSafetensors(path, readSafetensors(file).tensors, metadata);
  return path;
}
const withFacts = (change: object): string => withMetadata({ dawngrad: JSON.stringify({ ...facts, ...change }) });

test('what says nothing of stored images is shown them as the network’s input', () => {
  const plain = readModelFile(
    withFacts({
      storedSide: undefined,
      storedChannels: undefined,
      augment: undefined,
      trainedOn: undefined,
      startedFrom: undefined,
      draws: undefined,
    }),
  ).facts;
  assert.equal(
    [plain.storedSide, plain.storedChannels, plain.augment, plain.trainedOn, plain.startedFrom, plain.draws],
    [32, 3, 'none', null, [], [1]],
  );
  const one = { mean: [0.5], std: [0.25] };
  assert.equal(readModelFile(withFacts({ normalisation: one })).facts.normalisation, one);
});

test('metadata that is missing, damaged or of another program is refused in one line', async () => {
  const refused = async (path: string, pattern: RegExp) => rejectsData(() => readModelFile(path), `${path}: `, pattern);
  await refused(withMetadata({ format: 'pt' }), /does not say which network it is/);
  await refused(withMetadata({ dawngrad: '{' }), /is not JSON/);
  await refused(withMetadata({ dawngrad: 'null' }), /no valid arch/);
  await refused(
    withFacts({ arch: 'lenet' }),
    /holds a 'lenet'; this version knows vgg11_bn.* Use the version that wrote it\.$/,
  );
  await refused(withFacts({ classes: ['cat'] }), /no valid classes/);
  await refused(withFacts({ classes: ['cat', 'cat'] }), /no valid classes/);
  await refused(withFacts({ options: undefined }), /no valid options\.classes/);
  for (const wrong of [
    { width: 0 },
    { width: '1' },
    { width: 1e6 },
    { size: 1e9 },
    { pool: 1e4 },
    { classes: 1e9 },
    { channels: 2 },
    { size: 1.5 },
    { head: 'resnet' },
    { dropout: 1 },
  ]) {
    await refused(
      withFacts({ options: { ...options, ...wrong } }),
      new RegExp(`no valid options.${Object.keys(wrong)[0]}`),
    );
  }
  await refused(withFacts({ normalisation: { mean: [0, 0], std: [1, 1, 1] } }), /no valid normalisation\.mean/);
  await refused(withFacts({ normalisation: { mean: [0, 0, 0], std: [1, 0, 1] } }), /no valid normalisation\.std/);
  await refused(withFacts({ draws: ['a'] }), /no valid draws/);
  await refused(withFacts({ storedChannels: 4 }), /no valid storedChannels/);
  await refused(withFacts({ augment: 'affine' }), /no valid augment/);
  for (const wrong of [3, { images: 'a hash' }, { images: 'a hash', seed: 1, valid: 2 }]) {
    await refused(withFacts({ trainedOn: wrong }), /no valid trainedOn/);
    await refused(withFacts({ startedFrom: [wrong] }), /no valid startedFrom/);
  }
});

gpuTest('options that are no network together are refused by the file’s name', async () => {
  const cases: [change: object, pattern: RegExp][] = [
    [{ arch: 'fer_vgg' }, /head fastai is no head of fer_vgg; there are vgg\)/],
    [{ options: { ...options, size: 31 } }, /size 31: vgg11_bn halves the image .* at least 32\)/],
  ];
  for (const [change, pattern] of cases) {
    const path = withFacts(change);
    await rejectsData(() => loadModel(path), `${path}: its metadata describes no network (`, pattern, /Give the model/);
  }
});

gpuTest('tensors of another network are refused', async () => {
  const other = withFacts({ options: { ...options, width: 1 / 4 } });
  await rejectsData(
    () => loadModel(other),
    `${other}: tensor 'features.0.weight' is [8,3,3,3] but the network's is [16,3,3,3]. Give the model.safetensors of a run.`,
  );
  const deeper = withFacts({ arch: 'vgg13_bn' });
  await rejectsData(() => loadModel(deeper), `${deeper}: tensor 'features`);
});

gpuTest('weights that no run keeps are refused by name', async () => {
  const { tensors, metadata } = readSafetensors(file);
  const path = `${scratch.path}/damaged.safetensors`;
  const weight = tensors.get('features.0.weight')!;
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const data = Float32Array.from(weight.data as Float32Array);
    data[3] = value;
    writeSafetensors(path, new Map([...tensors, ['features.0.weight', { ...weight, data }]]), metadata);
    const line = `${path}: value 4 of tensor 'features.0.weight' is ${value}. `;
    await rejectsData(() => readModelFile(path), line);
    await rejectsData(() => readPretrained(path), line);
  }
});

gpuTest('a network that createModel does not know is not saved as one of its own', async () => {
  const mine = saveModel(file, createModel(facts.arch, options), { ...facts, arch: 'mine' }, 0);
  assert.match(
    await messageOf(() => mine),
    /^saveModel: no network is called 'mine'; there are vgg11_bn, .*stateTensors/,
  );
});

gpuTest(
  'what createModel was given is enough to save its network; what no reader would take is not written',
  async () => {
    const settings = { classes: 2, size: 32, width: 1 / 16 };
    const { classes, normalisation } = facts;
    const model = createModel('resnet18', settings);
    const path = `${scratch.path}/settings.safetensors`;
    const save = (change: object) =>
      saveModel(path, model, { arch: 'resnet18', options: settings, classes, normalisation, ...change }, 0);
    for (const [change, name] of [
      [{ classes: ['cat', 'cat'] }, 'classes'],
      [{ normalisation: { mean: [Number.NaN], std: [1] } }, 'normalisation.mean'],
      [{ options: { ...settings, classes: 3 } }, 'classes'],
    ] as const) {
      assert.is(
        await messageOf(() => save(change)),
        `saveModel: the facts have no valid ${name}, and no such file could be read.`,
      );
      assert.not(existsSync(path));
    }
    await save({});
    const loaded = loadModel(path);
    assert.equal(loaded.facts.options, { ...settings, channels: 3, head: 'linear', pool: 1, seed: 1 });
    assert.equal(await readState(loaded.model), await readState(model));
  },
);

test.run();
