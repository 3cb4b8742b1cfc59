import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readExperiments } from '../src/cli/experimentfile.ts';
import { clearRemains, compared, stateOf } from '../src/cli/experimentstate.ts';
import { argumentsOf } from '../src/cli/option.ts';
import { trainOptions } from '../src/cli/options.ts';
import { ConfigError, DataError } from '../src/core/errors.ts';
import { type ComparedRun, comparisonMarkdown, comparisonSvg } from '../src/train/comparison.ts';
import { readRecord, writeRecord } from '../src/train/runrecord.ts';
import { scratchFolder } from './files.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());

const unchanged = { given: {}, without: [], out: join('runs', 'list') };
const written = (json: unknown): string =>
  scratch.write('list.json', typeof json === 'string' ? json : JSON.stringify(json));
const read = (json: unknown, changes: Partial<typeof unchanged> = {}) =>
  readExperiments(written(json), { ...unchanged, ...changes });

const list = {
  title: 'Two',
  defaults: { epochs: 3, 'weight-decay': 0.1, nesterov: true },
  experiments: [
    { name: 'a', options: { lr: 0.1, nesterov: false }, reference: { accuracy: 0.5, note: 'elsewhere' } },
    { name: 'b.2', options: { epochs: 5, limit: null, tune: false }, note: 'longer' },
  ],
};

test('options are the defaults, those of the experiment, and what the command line changes', () => {
  const { title, experiments } = read(list);
  assert.is(title, 'Two');
  assert.equal(
    experiments.map(({ name, given }) => [name, given]),
    [
      ['a', { epochs: 3, weightDecay: 0.1, nesterov: false, lr: 0.1 }],
      ['b.2', { epochs: 5, weightDecay: 0.1, nesterov: true, limit: null, tune: false }],
    ],
  );
  assert.equal(experiments[0]!.reference, { accuracy: 0.5, note: 'elsewhere' });
  assert.equal([experiments[1]!.reference, experiments[1]!.note], [null, 'longer']);
  const changed = read(list, { given: { epochs: 1 }, without: ['weight-decay', 'nesterov'] } as object);
  assert.equal(
    changed.experiments.map(({ given }) => given),
    [
      { epochs: 1, lr: 0.1 },
      { epochs: 1, limit: null, tune: false },
    ],
  );
  assert.is(read({ experiments: [{ name: 'a' }] }).title, 'list');
});

test('options become the command line that has them', () => {
  const [a, b] = read(list).experiments;
  assert.is(argumentsOf(trainOptions, a!.given).join(' '), '--epochs 3 --weight-decay 0.1 --lr 0.1');
  assert.is(argumentsOf(trainOptions, b!.given).join(' '), '--epochs 5 --weight-decay 0.1 --nesterov --no-tune');
});

test('whatever is not valid is refused in a line with file and experiment', () => {
  const one = (experiment: object, rest: object = {}) => ({ experiments: [{ name: 'first' }, experiment], ...rest });
  const cases: [json: unknown, pattern: RegExp][] = [
    ['{ "experiments": [', /: is no JSON \(/],
    ['{\n  "title": "a"\n  "experiments": []\n}', /: is no JSON \([^\n]* in line 3, column 3\)\.$/],
    ['\x89PNG\r\n\0', /: is no JSON but binary data\./],
    ['[]', /: expected an object with title, defaults and experiments\.$/],
    ['null', /: expected an object/],
    [{ experiment: [] }, /: unknown 'experiment'\. Expected .* Did you mean experiments\?$/],
    [{ title: 'none' }, /: expected "experiments": a list of one or more\.$/],
    [{ experiments: [] }, /a list of one or more/],
    [{ title: 3, experiments: [{ name: 'a' }] }, /: title: expected text\.$/],
    [{ defaults: 3, experiments: [{ name: 'a' }] }, /: defaults: expected options of train/],
    [
      { defaults: { epoch: 3 }, experiments: [{ name: 'a' }] },
      /: defaults: unknown option 'epoch'\. Did you mean epochs\?/,
    ],
    [{ experiments: [null] }, /: experiment 1: has no name/],
    [{ experiments: ['a'] }, /: experiment 1: has no name/],
    [one({ options: {} }), /: experiment 2: has no name/],
    [one({ name: 7 }), /: experiment 2: has no name/],
    ...[
      '',
      '.',
      '..',
      'a/b',
      'a\\b',
      '../a',
      'a b',
      '-a',
      '.a',
      'a.',
      'é',
      'x'.repeat(65),
      'results.md',
      'CON',
      'nul.txt',
    ].map((name): [unknown, RegExp] => [one({ name }), /: experiment 2: name .* is no name of a folder here\./]),
    [one({ name: 'first' }), /: experiment 'first': the name is there twice/],
    [one({ name: 'First' }), /: experiment 'First': the name is there twice \(first\)/],
    [one({ name: 'b', option: {} }), /: experiment 'b': unknown 'option'\. .* Did you mean options\?$/],
    [one({ name: 'b', options: [] }), /: experiment 'b': expected options of train/],
    [one({ name: 'b', options: { learning: 1 } }), /: experiment 'b': unknown option 'learning'/],
    [one({ name: 'b', options: { weightDecay: 1 } }), /unknown option 'weightDecay'\. Did you mean weight-decay\?$/],
    [
      one({ name: 'b', options: { '--epochs': 1 } }),
      /: experiment 'b': option '--epochs' is written without the dashes/,
    ],
    [one({ name: 'b', options: { 'no-such': true } }), /: experiment 'b': unknown option 'no-such'/],
    [one({ name: 'b', options: { 'no-tune': true } }), /option 'no-tune' is written "tune": false here/],
    [one({ name: 'b', options: { out: 'x' } }), /: experiment 'b': option 'out' is for experiments to decide/],
    [one({ name: 'b', options: { resume: 'x' } }), /option 'resume' is for experiments/],
    [one({ name: 'b', options: { epochs: '3' } }), /: experiment 'b': epochs: expected a whole number .*, got "3"\.$/],
    [one({ name: 'b', options: { epochs: 0 } }), /: experiment 'b': epochs: expected .*, got 0/],
    [
      '{ "experiments": [{ "name": "b", "options": { "lr": 1e400 } }] }',
      /: experiment 'b': lr: expected a number .*, got Infinity\.$/,
    ],
    [one({ name: 'b', options: { epochs: null } }), /: experiment 'b': epochs: expected .*, got null/],
    [one({ name: 'b', options: { arch: 'vgg16' } }), /: experiment 'b': arch: expected vgg11_bn/],
    [one({ name: 'b', options: { head: 'fastai', pool: 7 } }), /: experiment 'b': --pool is for --head vgg/],
    [one({ name: 'b', options: { pool: 7 } }, { defaults: { head: 'fastai' } }), /: experiment 'b': --pool is for/],
    [
      one({ name: 'b', options: { 'freeze-epochs': 1 } }),
      /: experiment 'b': --freeze-epochs 1 needs --pretrained FILE/,
    ],
    [one({ name: 'b', reference: 0.7 }), /: experiment 'b': reference: expected an object with accuracy and note/],
    [one({ name: 'b', reference: { accuracy: 70 } }), /reference: accuracy: expected a number \(0 to 1\), got 70/],
    [one({ name: 'b', reference: { accuracy: 1.5 } }), /reference: accuracy: expected a number \(0 to 1\), got 1\.5/],
    [one({ name: 'b', reference: { accuracy: 0.7, note: 1 } }), /reference: note: expected text/],
    [one({ name: 'b', note: 1 }), /: experiment 'b': note: expected text/],
    [one({ name: 'b', from: 1 }), /: experiment 'b': from: expected the name/],
    [
      one({ name: 'b', from: 'first', options: { pretrained: 'vgg.pth' } }),
      /: experiment 'b': starts from first, and from vgg\.pth too\. Leave out from or pretrained\.$/,
    ],
  ];
  for (const [json, pattern] of cases) {
    try {
      read(json);
    } catch (error) {
      assert.instance(error, DataError, `${JSON.stringify(json)}: ${error}`);
      assert.match((error as Error).message, pattern);
      assert.match((error as Error).message, /list\.json: [^\n]+$/);
      continue;
    }
    assert.unreachable(`accepted ${JSON.stringify(json)}, though it should say ${pattern}`);
  }
  assert.throws(() => readExperiments(join(scratch.path, 'none.json'), unchanged), /none\.json: no such file\.$/);
  assert.throws(() => readExperiments(scratch.path, unchanged), /: cannot be read \(/);
  assert.throws(
    () => read(list, { without: ['epoch'] } as object),
    (error: Error) =>
      error instanceof ConfigError &&
      /^--without: train has no option 'epoch'\. Give .* between\. Did you mean epochs\?$/.test(error.message),
  );
});

/** A run's folder as `train` leaves it, with this command line. */
function ran(
  name: string,
  commandLine: string[],
  status: 'finished' | 'diverged' | 'stopped' | null,
  saved: boolean,
): void {
  scratch.write(`out/${name}/last/${saved ? 'checkpoint.safetensors' : 'nothing'}`, '');
  writeRecord(join(scratch.path, 'out', name, 'run.json'), {
    ...{ commandLine, startedAt: '2026-01-01', options: {}, seed: 1, kernelPlan: {} },
    versions: { dawngrad: '0', node: '20', webgpu: '0' },
    adapter: { kind: 'software', name: 'x', driver: '', software: true, fingerprint: '', why: '' },
    data: {
      ...{ name: 'toyfaces', path: null, classes: ['a'], counts: { train: 1, valid: 1, test: null } },
      ...{ validName: '', fingerprint: '' },
    },
    model: { arch: 'vgg11_bn', width: 1, head: 'vgg', pool: 1, channels: 3, size: 48, parameters: 5 },
    result: status && {
      ...{ status, epochs: 2, steps: 8, bestEpoch: 1, validLoss: 1, validAccuracy: 0.5, seconds: 3 },
      ...{ imagesPerSecond: 7, peakGpuBytes: 1 },
    },
  } as Parameters<typeof writeRecord>[1]);
}

test('how far an experiment is, is what its folder says', () => {
  const out = join(scratch.path, 'out');
  const [a] = read(list).experiments;
  const same = [
    'train',
    '--lr',
    '0.1',
    '--epochs',
    '3',
    '--weight-decay=0.1',
    '--out',
    'moved/since',
    '--adapter',
    'lavapipe',
  ];
  const state = (name: string) => stateOf({ ...a!, name }, out, 'list.json');
  assert.equal(state('none'), { kind: 'new', remains: false });
  ran('ended', same, 'finished', true);
  assert.is(state('ended').kind, 'done');
  ran('wild', same, 'diverged', true);
  assert.is(state('wild').kind, 'done');
  ran('stopped', same, 'stopped', true);
  assert.is(state('stopped').kind, 'begun');
  ran('killed', same, null, true);
  assert.is(state('killed').kind, 'begun');
  ran('early', same, null, false);
  assert.equal(state('early'), { kind: 'new', remains: true });
  clearRemains(join(out, 'early'));
  assert.equal(readdirSync(join(out, 'early')), []);
  assert.equal(state('early'), { kind: 'new', remains: false });

  scratch.write('out/strange/model.safetensors', '');
  assert.throws(() => state('strange'), /--out .*strange: already holds model\.safetensors/);
  scratch.write('out/damaged/run.json', '{');
  assert.throws(() => state('damaged'), /damaged.run\.json: is no JSON/);
});

test('a run that was trained with other options is refused, and the line says which', () => {
  const out = join(scratch.path, 'out');
  const [a] = read(list).experiments;
  const refused = (words: string, pattern: RegExp, given: object = a!.given) => {
    ran('other', ['train', ...words.split(' ')], 'finished', true);
    assert.throws(
      () => stateOf({ ...a!, given, name: 'other' }, out, 'list.json'),
      (error: Error) => error instanceof ConfigError && pattern.test(error.message) && !/\n/.test(error.message),
      `${words} should say ${pattern}`,
    );
  };
  const usual = '--epochs 3 --weight-decay 0.1 --lr 0.1';
  refused(
    '--epochs 3 --weight-decay 0.1 --lr 0.2',
    /^list\.json: experiment 'other' has --lr 0\.1, but .*other was trained with --lr 0\.2\. Give another --out, or take .*other away\.$/,
  );
  refused('--epochs 3 --weight-decay 0.1', /has --lr 0\.1, but .* was trained with no --lr\./);
  refused(`${usual} --batch 8`, /has no --batch, but .* was trained with --batch 8\./);
  refused(`${usual} --nesterov`, /has no --nesterov, but .* was trained with --nesterov\./);
  refused(usual, /has --no-tune, but .* was trained with no --no-tune\./, { ...a!.given, tune: false });
  refused(usual, /has --data faces\.csv, but .* was trained with no --data/, { ...a!.given, data: 'faces.csv' });
  // Only weights that come of another experiment may have moved, together with it.
  const [data, pretrained] = [
    { ...a!.given, data: 'old/set/faces.csv' },
    { ...a!.given, pretrained: 'old/a/w.pth' },
  ];
  refused(`${usual} --data new/set/faces.csv`, /has --data old.set.faces\.csv, but .* with --data new/, data);
  refused(
    `${usual} --pretrained new/a/w.pth`,
    /has --pretrained old.a.w\.pth, but .* with --pretrained new/,
    pretrained,
  );
  const moved = (given: object) => stateOf({ ...a!, given, name: 'other', from: 'a' }, out, 'list.json').kind;
  assert.is(moved(pretrained), 'done');
  ran('other', ['train', ...`${usual} --data new/set/faces.csv`.split(' ')], 'finished', true);
  assert.throws(() => moved(data), /has --data old/);
  refused('--of-another-version', /was not trained by this version's train/);
});

const run = (more: Partial<ComparedRun> = {}): ComparedRun => ({
  ...{ name: 'a', status: 'finished', best: 0.71234, bestEpoch: 4, last: 0.7, epochs: 5, imagesPerSecond: 123.4 },
  ...{ seconds: 3725, parameters: 14_723_136, reference: { accuracy: 0.7024, note: 'else|where <b>' }, note: null },
  ...more,
});
const nothing = {
  ...{ best: null, bestEpoch: null, last: null, epochs: null, imagesPerSecond: null, seconds: null, parameters: null },
  ...{ status: 'not begun', reference: null },
};

test('the comparison as Markdown', () => {
  const text = comparisonMarkdown('Faces', ['On a GPU.'], [run(), run({ name: 'b', ...nothing, note: 'later' })]);
  assert.equal(text.split('\n').slice(0, 8), [
    '# Faces',
    '',
    'On a GPU.',
    '',
    '| experiment | status | best | in epoch | last | reference | difference | epochs | images/s | time | parameters |',
    '|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
    '| a | finished | 71.23 % | 4 | 70.00 % | 70.24 % | −0.24 | 5 | 123 | 1 h 2 min | 14,723,136 |',
    '| b | not begun | – | – | – | – | – | – | – | – | – |',
  ]);
  const rows = comparisonMarkdown(
    '',
    [],
    [run({ imagesPerSecond: 12_324.4, last: 0.70241 }), run({ imagesPerSecond: 51.06 })],
  );
  assert.match(rows, /\| 0\.00 \| 5 \| 12,324 \|.*\n.*\| 51\.1 \|/, 'no 1.23e+4, no −0.00');
  assert.match(text, '- a, reference: else\\|where &lt;b>\n- b: later\n');
});

test('the comparison as a figure: a mark for each accuracy, and nothing for what there is none of', async () => {
  const marks = (svg: string) => (svg.match(/aria-roledescription="point"/g) ?? []).length;
  assert.is(marks(await comparisonSvg('Faces', [run(), run({ name: 'b', reference: null })])), 5);
  const empty = await comparisonSvg('Faces', [run({ name: 'b', ...nothing })]);
  assert.is(marks(empty), 0);
  assert.match(empty, />b</);
  assert.match(empty, />not begun</);
  const full = await comparisonSvg('Full', [run({ best: 1, last: 1, reference: null })]);
  assert.match(full, />100 %</);
  assert.not.match(full, />10[1-9]/);
  const svg = await comparisonSvg('A & B', [run()]);
  assert.match(svg, /^<svg/);
  assert.match(svg, /71\.23 %/);
  assert.match(svg, /A &amp; B/);
  assert.is(await comparisonSvg('A & B', [run()]), svg, 'the same each time');
  const far = await comparisonSvg('A', [
    run({ reference: { accuracy: 0.99, note: null } }),
    run({ name: 'b', reference: null }),
  ]);
  const left = [...far.matchAll(/translate\(([\d.]+),[^>]*>71\.23 %</g)].map(([, x]) => Number(x));
  assert.equal(left, [530, 530], 'the numbers of the best epochs stand in a column, right of every mark');
});

test('what is compared of a run comes from its folder', () => {
  const out = join(scratch.path, 'out');
  const [a] = read(list).experiments;
  scratch.write(
    'out/ended/metrics.csv',
    'epoch,step,lr,train_loss,train_accuracy,valid_loss,valid_accuracy,seconds,images_per_s\n1,4,1,1,0.5,1,0.5,1,9\n2,8,1,1,0.5,1,0.25,1,9\n',
  );
  assert.equal(compared({ ...a!, name: 'ended' }, out, 'unknown'), {
    ...{ name: 'ended', status: 'finished', best: 0.5, bestEpoch: 1, last: 0.25, epochs: 2, imagesPerSecond: 7 },
    ...{ seconds: 3, parameters: 5, reference: a!.reference, note: null },
  });
  const early = join(out, 'patient', 'run.json');
  ran('patient', ['train'], 'finished', true);
  const record = readRecord(early);
  writeRecord(early, { ...record, result: { ...record.result!, stoppedEarly: true, imagesPerSecond: 0 } });
  const { status, imagesPerSecond } = compared({ ...a!, name: 'patient' }, out, 'unknown');
  assert.equal([status, imagesPerSecond], ['stopped early', null]);
  assert.is(compared({ ...a!, name: 'none' }, out, 'failed').status, 'failed');
  scratch.write('out/damaged/run.json', '{');
  assert.is(compared({ ...a!, name: 'damaged' }, out, 'failed').status, 'damaged');
});

const folder = fileURLToPath(new URL('../bench/experiments/', import.meta.url));
for (const name of readdirSync(folder)) {
  test(`${name} is a list that can be run`, () => {
    const { experiments } = readExperiments(join(folder, name), unchanged);
    assert.ok(experiments.length > 3);
    if (name !== 'fer2013.json') return;
    assert.ok(experiments.every(({ reference }) => reference !== null));
    const scratch = readExperiments(join(folder, name), {
      ...unchanged,
      without: ['pretrained', 'freeze-epochs', 'lr-mult'],
    });
    assert.ok(scratch.experiments.every(({ given, from }) => 'pretrained' in given === (from !== null)));
  });
}

test('weights that an experiment starts from are those of one before it', () => {
  const from = (name: string) => ({ experiments: [{ name: 'a' }, { name: 'b', from: name }] });
  const { given } = read(from('a')).experiments[1]!;
  assert.is(given.pretrained, join('runs', 'list', 'a', 'model.safetensors'));
  const { given: shared } = read({ ...from('a'), defaults: { pretrained: 'vgg.pth' } }).experiments[1]!;
  assert.is(shared.pretrained, given.pretrained, 'they are in place of those that all share');
  assert.throws(() => read(from('c')), /experiment 'b': from: no experiment 'c' before it/);
  assert.throws(() => read(from('b')), /experiment 'b': from: no experiment 'b' before it/);
});

test.run();
