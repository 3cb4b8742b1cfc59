// --pretrained in whole commands: what they write, and that a run goes on without the file.
import { copyFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { resolveDefaults } from '../src/cli/defaults.ts';
import { evaluate } from '../src/cli/evaluate.ts';
import { lrFind } from '../src/cli/lrfind.ts';
import type { EvaluateOptions, TrainOptions } from '../src/cli/options.ts';
import { train } from '../src/cli/train.ts';
import { isUserError } from '../src/core/errors.ts';
import { Batches } from '../src/data/batches.ts';
import { readModelFile } from '../src/train/modelfile.ts';
import { IMAGENET } from '../src/train/pretrained.ts';
import { readRecord } from '../src/train/runrecord.ts';
import { hashOf } from './child.ts';
import { grayPng, pixelField, scratchFolder } from './files.ts';
import { within } from './gpu.ts';

const folder = scratchFolder();
test.after(() => folder.remove());
const at = (...names: string[]): string => join(folder.path, ...names);
const adapter = process.env.DAWNGRAD_ADAPTER || 'auto';

const rows = Array.from({ length: 20 }, (_, i) => `${i % 7},${pixelField(i)},${i < 14 ? 'Training' : 'PublicTest'}`);
const csv = folder.write('faces.csv', ['emotion,pixels,Usage', ...rows, ''].join('\n'));
const weights = at('weights.pth');
const fixture = fileURLToPath(new URL('fixtures/pretrained.pth', import.meta.url));
copyFileSync(fixture, weights);

/** The fixture's network on fourteen images: two steps an epoch. */
const small = {
  ...{ data: csv, adapter, arch: 'vgg11_bn', width: 1 / 64, size: 32, batch: 7, epochs: 2, tune: false },
  pretrained: weights,
} as const;

/** Runs a command in this process and returns what it printed. */
async function printed(run: () => Promise<void>): Promise<string> {
  const { error, log } = console;
  const { write } = process.stderr;
  const lines: string[] = [];
  console.error = (line: string) => void lines.push(line);
  console.log = (line: string) => void lines.push(line);
  process.stderr.write = (text: string | Uint8Array) => lines.push(String(text).trimEnd()) > 0;
  try {
    await within(60_000, run());
  } finally {
    console.error = error;
    console.log = log;
    process.stderr.write = write;
  }
  return lines.join('\n');
}

async function refused(given: Partial<TrainOptions>, pattern: RegExp): Promise<void> {
  let failure: unknown = null;
  await printed(() => train({ ...small, out: at('refused'), ...given })).catch((error: unknown) => {
    failure = error;
  });
  assert.ok(isUserError(failure), `expected ${pattern}, not ${failure}`);
  assert.match(failure.message, pattern);
  assert.not.match(failure.message, /\n/);
  assert.not(existsSync(at('refused')));
}

test('train starts from torchvision’s weights: a frozen epoch first, ImageNet’s normalisation, a new head', async () => {
  const lines = await printed(() => train({ ...small, out: at('whole') }));
  assert.match(
    lines,
    /^weights\.pth: 48 tensors of vgg11_bn, with a new head; the body is frozen in the first epoch$/m,
  );
  assert.match(lines, /6 steps of 7 images$/m);
  const { pretrained, options, result } = readRecord(at('whole', 'run.json'));
  assert.equal(pretrained, {
    ...{
      name: 'weights.pth',
      path: weights,
      tensors: 48,
      head: 'new',
      normalisation: IMAGENET,
      origins: [],
      draws: [],
    },
  });
  assert.equal(
    [options.freezeEpochs, options.lrMult, options.optimizer, options.decay],
    [1, 100, 'fastai-adam', 'weights'],
  );
  assert.equal([result?.status, result?.epochs, result?.steps], ['finished', 3, 6]);
  const epochs = readFileSync(at('whole', 'metrics.csv'), 'utf8').trimEnd().split('\n').slice(1);
  assert.equal(
    epochs.map((row) => row.split(',').slice(0, 2).join()),
    ['1,2', '2,4', '3,6'],
  );
  assert.equal(readModelFile(at('whole', 'model.safetensors')).facts.normalisation, IMAGENET);
});

test('a fine-tuning that was stopped goes on without the file, to the same bits', async () => {
  const lines = await printed(() => train({ ...small, out: at('stopped'), maxMinutes: 1e-6 }));
  assert.match(lines, /Stopped; continue with/);
  rmSync(weights);
  try {
    await printed(() => train({ resume: at('stopped'), adapter }));
  } finally {
    copyFileSync(fixture, weights);
  }
  for (const name of ['model.safetensors', join('last', 'checkpoint.safetensors')])
    assert.is(hashOf(at('stopped', name)), hashOf(at('whole', name)), name);
  const [one, other] = ['stopped', 'whole'].map((run) => readRecord(at(run, 'run.json')));
  assert.equal(one!.pretrained, other!.pretrained);
});

test('the model of a run is where the next one starts, head included', async () => {
  const model = at('whole', 'model.safetensors');
  const lines = await printed(() =>
    train({ ...small, pretrained: model, freezeEpochs: 0, epochs: 1, out: at('next') }),
  );
  assert.match(lines, /^model\.safetensors: \d+ tensors of vgg11_bn, the head among them$/m);
  assert.is(readRecord(at('next', 'run.json')).result?.epochs, 1);
  // It draws other numbers than the run before, whose seed it has; and so does the one after it.
  const { width, ...rest } = small;
  const again = { ...rest, pretrained: at('next', 'model.safetensors'), freezeEpochs: 0, epochs: 1, out: at('again') };
  const seeds: number[] = [];
  const { order } = Batches.prototype;
  Batches.prototype.order = function (epoch, seed = 1) {
    seeds.push(seed);
    return order.call(this, epoch, seed);
  };
  await printed(() => train(again)).finally(() => Object.assign(Batches.prototype, { order }));
  assert.is(readRecord(at('again', 'run.json')).options.width, width, 'the width of the weights is known');
  const drawsOf = (name: string) => readModelFile(at(name, 'model.safetensors')).facts.draws;
  const [first, second, third] = [drawsOf('whole'), drawsOf('next'), drawsOf('again')];
  assert.equal([first, second.slice(1), third.slice(1)], [[1], first, second]);
  assert.is(new Set(third).size, 3);
  assert.equal(seeds, [third[0]]);
});

test('images to validate that the weights were trained on are told of, and evaluate knows of them', async () => {
  const photos = at('photos');
  for (let i = 0; i < 30; i++) folder.write(`photos/${i % 2 ? 'cat' : 'dog'}/${i}.png`, grayPng(i));
  const given = { ...small, data: photos, store: 40, freezeEpochs: 0, epochs: 1 };
  const run = (name: string, pretrained: string, more: Partial<TrainOptions> = {}) =>
    printed(() => train({ ...given, pretrained, out: at(name), ...more }));
  const seenOf = async (name: string, more: Partial<EvaluateOptions> = {}) => {
    const file = at(name, 'model.safetensors');
    const shared = { model: file, data: photos, split: 'valid', batch: 7, json: true, adapter } as const;
    const unset = { valid: null, seed: null, limit: null, store: null, tta: null, out: null };
    const lines = await printed(() => evaluate({ ...unset, ...shared, ...more }));
    const { seen, splitName, images } = JSON.parse(lines.slice(lines.indexOf('{')));
    return [seen, splitName, images];
  };

  assert.not.match(await run('first', weights, { valid: '20%' }), /Note/);
  const told = await run('second', at('first', 'model.safetensors'), { seed: 2, valid: '20%' });
  const [, count] =
    /Note: the weights of --pretrained were trained on (\d) of the 6 images to validate: .*\. --valid '?20%'? --seed 1 divides them as then\.$/m.exec(
      told,
    )!;
  const seen = { trained: Number(count), validated: 6 - Number(count) };
  assert.equal(await seenOf('second'), [seen, '20 % of train, stratified, seed 2', 6]);
  // The same images at another side are the same images.
  assert.equal(await seenOf('second', { store: 32 }), [seen, '20 % of train, stratified, seed 2', 6]);
  assert.equal(await seenOf('first', { store: 32, valid: 'all' }), [{ trained: 24, validated: 6 }, 'all images', 30]);
  assert.not.match(await run('third', at('first', 'model.safetensors'), { valid: '20%' }), /Note/);
});

test('lr-find sweeps with a frozen body, or with all layers', async () => {
  const sweep = { ...{ data: csv, adapter, arch: 'vgg11_bn', width: 1 / 64, size: 32, batch: 7 }, steps: 20 } as const;
  const losses = async (freezeEpochs: number | undefined) => {
    const out = at(`sweep${freezeEpochs}`);
    const given = { ...sweep, pretrained: weights, out, ...(freezeEpochs !== undefined && { freezeEpochs }) };
    await printed(() => lrFind(given));
    return readFileSync(join(out, 'lr-find.csv'), 'utf8');
  };
  assert.is.not(await losses(undefined), await losses(0));
  const { width, ...rest } = sweep;
  const swept = { ...rest, pretrained: at('whole', 'model.safetensors'), out: at('swept') };
  assert.match(await printed(() => lrFind(swept)), /^Train with it: /m, 'in the width of the weights');
  await refusedSweep({ ...sweep, freezeEpochs: 1 }, /^--freeze-epochs 1 needs --pretrained FILE/);
  // Before any data are read.
  await refusedSweep({ ...sweep, data: at('no.csv'), pretrained: at('none.pth') }, /none\.pth: no such file/);

  async function refusedSweep(given: Parameters<typeof lrFind>[0], pattern: RegExp): Promise<void> {
    let failure: unknown = null;
    await printed(() => lrFind(given)).catch((error: unknown) => {
      failure = error;
    });
    assert.ok(isUserError(failure), `expected ${pattern}, not ${failure}`);
    assert.match(failure.message, pattern);
  }
});

test('weights that do not fit are refused in a line, and make no folder', async () => {
  await refused({ pretrained: at('none.pth') }, /none\.pth: no such file/);
  await refused({ pretrained: csv }, /faces\.csv: .*not a safetensors file/);
  await refused({ width: 0.25 }, /weights\.pth: tensor 'features\.0\.weight' is \[8,3,3,3\].*Give the file's width/);
  await refused(
    { arch: 'vgg13_bn' },
    /weights\.pth: tensor 'features\.3\.weight' of vgg13_bn is missing\..*file's arch\.$/,
  );
  await refused({ arch: 'resnet18' }, /weights\.pth: tensor 'conv1\.weight' of resnet18 is missing/);
  const model = at('whole', 'model.safetensors');
  await refused({ pretrained: model, arch: 'vgg16_bn' }, /holds a vgg11_bn, not a vgg16_bn\. Give arch vgg11_bn/);
});

test('defaults with --pretrained are fast.ai’s, and yield to what is given', () => {
  for (const software of [true, false]) {
    for (const data of ['toyfaces', 'faces.csv']) {
      const situation = { software, data };
      const { width, head, optimizer, lr, lrMult, freezeEpochs, decay, weightDecay, momentum } = resolveDefaults(
        { pretrained: 'vgg.pth' },
        situation,
      );
      assert.equal([width, head, optimizer, lr, lrMult, freezeEpochs], [1, 'fastai', 'fastai-adam', 2e-3, 100, 1]);
      assert.equal([decay, weightDecay, momentum], ['weights', 0.01, 0.95]);
      const cosine = resolveDefaults({ pretrained: 'vgg.pth', schedule: 'cosine' }, situation);
      assert.is(cosine.freezeEpochs, 0, 'phases are one-cycles');
      const own = { pretrained: 'vgg.pth', optimizer: 'sgd', head: 'vgg', freezeEpochs: 3, lrMult: 1 } as const;
      const kept = resolveDefaults(own, situation);
      assert.equal([kept.optimizer, kept.head, kept.freezeEpochs, kept.lrMult], ['sgd', 'vgg', 3, 1]);
      assert.is(resolveDefaults({ pretrained: 'vgg.pth', nesterov: true }, situation).optimizer, 'sgd');
      assert.is(resolveDefaults({ pretrained: 'f.pth', arch: 'fer_vgg' }, situation).head, 'vgg');
      const drawn = resolveDefaults({}, situation);
      assert.equal([drawn.lrMult, drawn.freezeEpochs, drawn.decay], [1, 0, 'all']);
      assert.is(resolveDefaults({ optimizer: 'fastai-adam' }, situation).decay, 'weights');
    }
  }
});

test.run();
