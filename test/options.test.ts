import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Command, command, type Manual } from '../src/cli/command.ts';
import { checkGiven, checkPredict, presets, resolveDefaults, resumeOptions } from '../src/cli/defaults.ts';
import { withFlags } from '../src/cli/main.ts';
import * as manuals from '../src/cli/manuals.ts';
import { flagOf, readOptions, type Table, withDefaults } from '../src/cli/option.ts';
import { augmentNames, evaluateOptions, type TrainOptions, trainOptions } from '../src/cli/options.ts';
import { readCommandLine } from '../src/cli/usage.ts';
import { ConfigError, DataError } from '../src/core/errors.ts';
import { nearest } from '../src/core/nearest.ts';
import { counted, inPercent, listOf, thousands } from '../src/core/words.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { activationBytes, MODEL_NAMES } from '../src/models/index.ts';

const { train, lrFind, evaluate, predict, contactSheet, experiments, colorize, info } = manuals;
const all = [train, lrFind, evaluate, predict, contactSheet, experiments, colorize, info];
const commands: readonly Command[] = all.map((manual) => command(manual as Manual<Table>, async () => {}));
const hardware = { software: false, data: 'faces.csv' };

const given = (line: string): Record<string, unknown> => {
  const call = readCommandLine(line.split(' '), commands, '1.2.3');
  assert.ok(call, 'nothing was called');
  return call!.given;
};
const trainOptionsOf = (line: string) => resolveDefaults(given(`train ${line}`.trim()), hardware);

const refuses = (
  call: () => unknown,
  pattern: RegExp,
  kind: typeof ConfigError | typeof DataError = ConfigError,
): void => {
  try {
    call();
  } catch (error) {
    assert.instance(error, kind);
    assert.match((error as Error).message, pattern);
    assert.not.match((error as Error).message, /\n/);
    return;
  }
  assert.unreachable(`accepted, though it should say ${pattern}`);
};

const savedAdapter = process.env.DAWNGRAD_ADAPTER;
const savedEvent = process.env.npm_lifecycle_event;
test.before(() => {
  delete process.env.DAWNGRAD_ADAPTER;
  delete process.env.npm_lifecycle_event;
});
test.after(() => {
  if (savedAdapter !== undefined) process.env.DAWNGRAD_ADAPTER = savedAdapter;
  if (savedEvent !== undefined) process.env.npm_lifecycle_event = savedEvent;
});

test('every command is among those that are looked at here', () => {
  assert.equal(new Set(Object.values(manuals)), new Set(all));
});

test('every entry of every table has a valid default, a sentence and a flag of its own', () => {
  for (const { name, options } of commands) {
    const flags = Object.entries(options).map(([key, entry]) => flagOf(key, entry));
    assert.is(new Set(flags).size, flags.length, name);
    for (const [key, { kind, initial, otherwise, help }] of Object.entries(options)) {
      const where = `${name} ${key}`;
      for (const value of Array.isArray(initial) ? initial : [initial ?? []].flat()) assert.ok(kind.has(value), where);
      if (initial === null) assert.ok(otherwise, `${where}: says what null stands for`);
      assert.match(help, /[^.]$/, where);
    }
  }
});

// The table names them itself, so that `--help` need not load the engine.
test('the architectures and augmentations that are offered are those that there are', () => {
  const sizes = { classes: 7, channels: 3, size: 48, width: 1, head: 'vgg', pool: 1, seed: 1 } as const;
  for (const name of MODEL_NAMES) assert.ok(activationBytes(name, sizes) > 0);
  assert.equal([...augmentNames].sort(), Object.keys(AUGMENTATIONS).sort());
});

test('what is given is read with its type, and nothing else is in it', () => {
  assert.equal(given('train'), {});
  assert.equal(given('train --epochs 3 --lr=1e6 --arch vgg11_bn --channels 1 --nesterov --data a.csv'), {
    data: 'a.csv',
    channels: 1,
    arch: 'vgg11_bn',
    epochs: 3,
    nesterov: true,
    lr: 1e6,
  });
  assert.equal(given('train --weight-decay .5 --label-smoothing 0 --max-minutes 0.1 --checkpoint-every 5'), {
    weightDecay: 0.5,
    labelSmoothing: 0,
    maxMinutes: 0.1,
    checkpointEvery: 5,
  });
  assert.equal(given('train --width 4 --epochs 100000 --size 32'), { width: 4, epochs: 100_000, size: 32 });
  assert.equal(given('train --valid BOTH'), { valid: 'both' });
  assert.equal(given('train --valid 12.5%'), { valid: '12.5%' });
  assert.equal(given('train --epochs 3 --epochs 4'), { epochs: 4 });
  assert.equal(given('predict --model m.safetensors a.png faces --json'), {
    images: ['a.png', 'faces'],
    model: 'm.safetensors',
    json: true,
  });
});

test('the environment names the adapter, the command line overrides it', () => {
  process.env.DAWNGRAD_ADAPTER = 'lavapipe';
  assert.equal(given('info'), { adapter: 'lavapipe' });
  assert.equal(given('info --adapter software'), { adapter: 'software' });
  process.env.DAWNGRAD_ADAPTER = '';
  assert.equal(given('info'), {});
  delete process.env.DAWNGRAD_ADAPTER;
});

test('values that are not valid are refused with what was expected', () => {
  const cases: [line: string, pattern: RegExp][] = [
    ['train --epochs abc', /^--epochs: expected a whole number \(1 to 100000\), got 'abc'\.$/],
    ['train --epochs 0', /^--epochs: expected .* got '0'/],
    ['train --epochs 1.5', /^--epochs: expected a whole number/],
    ['train --epochs 0x10', /^--epochs/],
    ['train --epochs 3e', /^--epochs/],
    ['train --lr Infinity', /^--lr: expected a number \(above 0\)/],
    ['train --lr 1e999', /^--lr/],
    ['train --lr nan', /^--lr/],
    ['train --lr -1', /^--lr: .* got '-1'/],
    ['train --lr 0', /^--lr/],
    ['train --lr=', /^--lr: .* got ''/],
    ['train --width 4.1', /^--width: expected a number \(above 0, up to 4\)/],
    ['train --momentum 1', /^--momentum: expected a number \(0 to below 1\)/],
    ['train --weight-decay -1', /^--weight-decay: expected a number \(0 or more\)/],
    ['train --seed 4294967296', /^--seed/],
    ['train --lr-mult 0.5', /^--lr-mult: expected a number \(1 or more\)/],
    ['train --freeze-epochs -1', /^--freeze-epochs: expected a whole number \(0 to 100000\)/],
    ['train --pretrained=', /^--pretrained: expected a name or path/],
    ['train --decay none', /^--decay: expected all or weights, got 'none'/],
    ['train --size 31', /^--size: expected a whole number \(32 to 1024\)/],
    ['train --channels 2', /^--channels: expected 1 or 3, got '2'\.$/],
    ['train --data=', /^--data: expected a name or path, got ''/],
    ['train --epochs --batch 3', /^--epochs: expected a whole number \(1 to 100000\), got the option '--batch'/],
    ['train --data --batch 3', /^--data: .* got the option '--batch'/],
    ['train --batch', /^--batch: expected a whole number \(1 to 65536\), got nothing/],
    ['train --nesterov=true', /^--nesterov: takes no value, got 'true'\. Give --nesterov alone, or leave it out\.$/],
    ['train --no-tune=', /^--no-tune: takes no value, got ''/],
  ];
  for (const [line, pattern] of cases) refuses(() => given(line), pattern);
});

test('an unknown name is refused with the valid ones and the nearest', () => {
  const cases: [line: string, pattern: RegExp][] = [
    ['train --arch vgg16', /^--arch: expected vgg11_bn, .* or fer_vgg, got 'vgg16'\. Did you mean vgg16_bn\?$/],
    ['train --arch VGG16_BN', /Did you mean vgg16_bn\?$/],
    ['train --arch transformer', /got 'transformer'\.$/],
    ['train --optimizer adma', /Did you mean adam\?$/],
    ['train --schedule onecycle', /Did you mean one-cycle\?$/],
    [
      'train --valid PublicTst',
      /^--valid: expected PublicTest, both or a share such as '10%'.*Did you mean PublicTest\?$/,
    ],
    ['train --valid PrivateTest', /^--valid: expected/],
    ['train --valid all', /^--valid: expected/],
    ['evaluate --model m --data d --split vaild', /^--split: .* Did you mean valid\?$/],
    ['train --epoch 3', /^train: unknown option '--epoch'\. Did you mean --epochs\?$/],
    ['train --json', /^train: unknown option '--json'\. dawngrad train --help lists/],
    ['trian', /^unknown command 'trian'\. Expected train, .* or info\. Did you mean train\?$/],
    ['help trian', /^unknown command 'trian'.* Did you mean train\?$/],
    ['--epochs 3', /^unknown option '--epochs'\. dawngrad --help/],
  ];
  for (const [line, pattern] of cases) refuses(() => given(line), pattern);
});

test('what is missing or too much is refused', () => {
  refuses(() => readCommandLine([], commands, ''), /^no command\. Expected train, /);
  refuses(() => given('evaluate --data toyfaces'), /^evaluate: --model FILE is missing/);
  refuses(() => given('evaluate --model m'), /^evaluate: --data PATH is missing/);
  refuses(() => given('evaluate --modle m --data d'), /unknown option '--modle'\. Did you mean --model\?/);
  refuses(() => given('predict --model m'), /^predict: IMAGE_OR_FOLDER… is missing/);
  refuses(() => given('predict --model m --odd.png'), /^predict: unknown option '--odd\.png'/);
  assert.equal(given('predict --model m -- --odd.png').images, ['--odd.png'], 'behind -- there are no options');
  refuses(() => given('train faces.csv'), /^train: unexpected argument 'faces\.csv'\. Options start with --/);
  process.env.npm_lifecycle_event = 'train';
  process.env.npm_package_name = 'dawngrad';
  refuses(() => given('train 3'), /^train: unexpected argument '3'\. npm passes .* npm(\.cmd)? run train -- --help$/);
  process.env.npm_lifecycle_event = 'npx';
  refuses(
    () => given('train 3'),
    /^train: unexpected argument '3'\. Options start with --, and npx dawngrad train --help/,
  );
  delete process.env.npm_lifecycle_event;
});

test('options that contradict each other are refused', () => {
  const cases: [line: string, pattern: RegExp][] = [
    ['--head fastai --pool 7', /^--pool is for --head vgg/],
    ['--arch resnet18 --pool 7', /^--pool is for the vgg head of the VGGs; resnet18/],
    ['--arch resnet34 --head vgg', /^--head vgg is no head of resnet34\. Choose linear or fastai/],
    ['--arch fer_vgg --head fastai', /^--head fastai is no head of fer_vgg\. Choose vgg\.$/],
    ['--arch fer_vgg --pool 2', /^--pool is for the vgg head of the VGGs; fer_vgg/],
    ['--arch vgg16_bn --head linear', /^--head linear is no head of vgg16_bn/],
    ['--arch resnet18 --head linear --dropout 0.3', /^--dropout 0\.3 is for a head with hidden layers, and linear has/],
    ['--nesterov --optimizer adam', /^--nesterov is for --optimizer sgd, not adam/],
    ['--nesterov --optimizer fastai-adam', /^--nesterov is for --optimizer sgd, not fastai-adam/],
    ['--freeze-epochs 2 --schedule cosine', /^--freeze-epochs 2 is for --schedule one-cycle.*Leave out one of the two/],
    ['--nesterov --momentum 0', /^--nesterov needs a momentum/],
    ['--warmup 1 --schedule one-cycle', /^--warmup is for other schedules/],
    ['--warmup 5 --epochs 5 --schedule cosine', /^--warmup 5 leaves nothing of 5 epochs/],
    ['--warmup 2 --epochs 1 --schedule cosine', /^--warmup 2 leaves nothing of 1 epoch\. /],
    ['--resume runs/a --lr 1', /^--resume runs\/a .* Leave out --lr, or start/],
    ['--resume runs/a --epochs 9 --nesterov --out b', /Leave out --epochs, --nesterov and --out, or start/],
  ];
  for (const [line, pattern] of cases) refuses(() => checkGiven(given(`train ${line}`)), pattern);
  refuses(() => trainOptionsOf('--arch resnet18 --dropout 0.3'), /^--dropout 0\.3 .* choose --head fastai\.$/);
  refuses(() => trainOptionsOf('--warmup 1'), /^--warmup is for other schedules/);
  refuses(() => trainOptionsOf('--freeze-epochs 1'), /^--freeze-epochs 1 needs --pretrained FILE: frozen layers/);
  refuses(() => trainOptionsOf('--warmup 40 --schedule cosine'), /leaves nothing of 30 epochs/);
  checkGiven(given('train --resume runs/a --max-minutes 5 --adapter software --checkpoint-every 10 --data moved.csv'));
  checkGiven(given('train --warmup 1 --schedule cosine --nesterov --pool 7'));
});

test('defaults: the table, then the presets that hold; what is given is never changed', () => {
  const usual = trainOptionsOf('');
  assert.equal(Object.keys(usual).sort(), Object.keys(trainOptions).sort());
  assert.is(usual.arch, 'vgg16_bn');
  assert.is(usual.width, 1);
  assert.is(usual.batch, 64);
  assert.is(usual.pool, 1);
  assert.is(usual.momentum, 0.95, 'one-cycle');
  assert.is(trainOptionsOf('--schedule cosine').momentum, 0.9);
  assert.is(trainOptionsOf('--pool 7').pool, 7);
  assert.is(trainOptionsOf('--head fastai').pool, null);
  assert.equal(
    ['resnet18', 'resnet18 --head fastai'].map((arch) => trainOptionsOf(`--arch ${arch}`).dropout),
    [0, 0.5],
  );

  const first = resolveDefaults({}, { software: true, data: 'toyfaces' });
  assert.ok(first.width < 1);
  assert.is(first.head, 'fastai');
  assert.is(first.pool, null);
  assert.is(first.optimizer, 'adamw');
  assert.is(first.schedule, 'one-cycle');

  for (const software of [true, false]) {
    for (const data of ['toyfaces', 'faces.csv']) {
      const situation = { software, data };
      const own = resolveDefaults({}, situation);
      const checked = readOptions(trainOptions, own, 'run.json');
      assert.equal(checked, own, 'presets are valid values');
      const other = { ...own, width: 0.5, head: 'vgg', pool: 3, optimizer: 'adam', lr: 0.7, epochs: 77 } as const;
      assert.equal(resolveDefaults(other, situation), other);
      // Sensible in every situation, so no preset may stand against them.
      assert.is(resolveDefaults({ pool: 7 }, situation).head, 'vgg');
      assert.is(resolveDefaults({ nesterov: true }, situation).optimizer, 'sgd');
    }
  }
  const sgd = resolveDefaults({ optimizer: 'sgd' }, { software: true, data: 'toyfaces' });
  assert.is(sgd.lr, trainOptions.lr.initial, "adamw's rate is not for sgd");
});

test('what each situation decides, in full', () => {
  const adamw = { optimizer: 'adamw', lr: 2e-3, weightDecay: 0.01 };
  const tuned = {
    optimizer: 'fastai-adam',
    lr: 2e-3,
    weightDecay: 0.01,
    freezeEpochs: 1,
    lrMult: 100,
    decay: 'weights',
  };
  const short = { width: 0.125, epochs: 7, batch: 16, augment: 'flip', head: 'fastai' };
  const narrow = { width: 0.25, head: 'fastai' };
  const decided: [given: Partial<TrainOptions>, software: boolean, data: string, values: object][] = [
    [{}, false, 'faces.csv', { pool: 1 }],
    [{}, true, 'faces.csv', { ...narrow, ...adamw }],
    [{}, false, 'toyfaces', { ...adamw, epochs: 20, augment: 'flip', head: 'fastai', dropout: 0.1 }],
    [{}, true, 'toyfaces', { ...short, ...adamw, lr: 4e-3, dropout: 0.1 }],
    [{ optimizer: 'adam' }, false, 'faces.csv', { pool: 1, lr: 2e-3 }],
    [{ optimizer: 'adam' }, true, 'toyfaces', { ...short, lr: 2e-3 }],
    [{ arch: 'resnet18' }, false, 'faces.csv', { head: 'linear', dropout: 0 }],
    [{ arch: 'fer_vgg' }, true, 'faces.csv', { ...adamw, width: 0.25, dropout: 0.2 }],
    [{ pretrained: 'w.pth' }, false, 'faces.csv', { ...tuned, head: 'fastai' }],
    [{ pretrained: 'w.pth', pool: 7 }, false, 'faces.csv', tuned],
    [{ pretrained: 'w.pth' }, true, 'toyfaces', { ...short, ...tuned, width: 1 }],
    [
      { pretrained: 'w.pth', nesterov: true },
      true,
      'faces.csv',
      { head: 'fastai', freezeEpochs: 1, lrMult: 100, decay: 'weights' },
    ],
  ];
  for (const [given, software, data, values] of decided) {
    const expected = { ...withDefaults(trainOptions, given), momentum: 0.95, ...values };
    assert.equal(resolveDefaults(given, { software, data }), expected, JSON.stringify([given, software, data]));
  }
  const paced = resolveDefaults({ pretrained: 'w.pth', schedule: 'cosine' }, hardware);
  assert.equal([paced.momentum, paced.freezeEpochs], [0.9, 0], 'both are for one-cycle');
});

test('a resumed run has the options it was started with, and those that leave it the same', () => {
  const recorded = trainOptionsOf('--epochs 5 --seed 9');
  const resumed = resumeOptions(recorded, { resume: 'runs/a', maxMinutes: 2 });
  assert.equal(resumed, { ...recorded, resume: 'runs/a', maxMinutes: 2 });
  const stopped = trainOptionsOf('--epochs 5 --seed 9 --max-minutes 3');
  assert.is(resumeOptions(stopped, { resume: 'runs/a' }).maxMinutes, null, 'its time was up; now there is no limit');
  refuses(() => resumeOptions(recorded, { resume: 'runs/a', seed: 8 }), /Leave out --seed/);
});

test('options come back from JSON; what does not belong there is refused with its file', () => {
  const options = trainOptionsOf('--epochs 5 --pool 2 --limit 10');
  assert.equal(readOptions(trainOptions, JSON.parse(JSON.stringify(options)), 'run.json'), options);
  assert.equal(readOptions(trainOptions, {}, 'run.json'), withDefaults(trainOptions, {}));
  const read = (json: object) => () => readOptions(trainOptions, json, 'a/run.json');
  refuses(read({ epochs: '5' }), /^a\/run\.json: epochs: expected a whole number .*, got "5"/, DataError);
  refuses(read({ epochs: null }), /^a\/run\.json: epochs/, DataError);
  refuses(read({ epoch: 5 }), /^a\/run\.json: unknown option 'epoch'\. Did you mean epochs\?/, DataError);
  refuses(read({ constructor: 5 }), /unknown option 'constructor'/, DataError);
});

test('what is for Grad-CAM goes with --cam', () => {
  const check = (line: string) => checkPredict(given(`predict --model m.safetensors ${line} a.png`));
  refuses(() => check('--cam-maps 3'), /^predict: --cam-maps 3 is for --cam DIR\. Give that too, or leave it out\.$/);
  check('--cam looks --cam-maps 3');
  check('--cam looks');
  refuses(() => given('predict --model m --cam-maps 0 a.png'), /^--cam-maps: expected a whole number \(1 to 1024\)/);
});

test('evaluate takes all images for valid, and its own batch', () => {
  assert.equal(given('evaluate --model m --data d --valid all'), { model: 'm', data: 'd', valid: 'all' });
  assert.is(evaluateOptions.batch.initial, 64);
});

test('help fits 80 columns and names every option, its default and the other defaults', () => {
  const shown = help('train');
  for (const line of shown.split('\n')) assert.ok(line.length <= 80, line);
  const table: Table = trainOptions;
  for (const [key, entry] of Object.entries(table)) assert.ok(shown.includes(flagOf(key, entry)), key);
  assert.match(shown, /--batch N +images a step \(1 to 65536; default 64, see below\)/);
  const flat = shown.replace(/\s+/g, ' ');
  for (const [key, entry] of Object.entries(table)) {
    const { kind, help, initial, otherwise } = entry;
    if (initial === undefined || typeof initial === 'boolean') continue;
    const depends = presets.some(({ label, values }) => label !== '' && key in values) ? ', see below' : '';
    const facts = [kind.range, `default ${initial ?? otherwise}${depends}`].filter(Boolean).join('; ');
    assert.ok(flat.includes(` ${flagOf(key, entry)} ${kind.placeholder} ${help} (${facts})`), key);
  }
  for (const { label } of presets.filter(({ label }) => label !== '')) assert.ok(shown.includes(label), label);
  assert.match(help('predict'), /Usage: dawngrad predict --model FILE IMAGE_OR_FOLDER… \[options\]/);
  assert.match(help('colorize'), /Usage: dawngrad colorize --model FILE IN OUT \[options\]/);
  assert.match(help('experiments'), /Usage: dawngrad experiments FILE \[options\]/);
  process.env.npm_lifecycle_event = 'predict';
  const { npm_package_name } = process.env;
  process.env.npm_package_name = 'dawngrad';
  assert.match(help('predict'), /^Usage: npm(\.cmd)? run predict -- --model FILE IMAGE_OR_FOLDER… \[options\]$/m);
  delete process.env.npm_lifecycle_event;
  if (npm_package_name === undefined) delete process.env.npm_package_name;
  else process.env.npm_package_name = npm_package_name;
  for (const { name } of commands) {
    assert.match(help(), new RegExp(`^  ${name} `, 'm'));
    for (const line of help(name).split('\n')) assert.ok(line.length <= 80, line);
  }
});

test('help is wrapped for a narrow terminal, but for command lines', () => {
  const { isTTY, columns } = process.stdout;
  Object.assign(process.stdout, { isTTY: true, columns: 50 });
  try {
    const [said] = help('train').split('Examples:');
    for (const line of said!.split('\n')) assert.ok(line.length <= 50, line);
  } finally {
    Object.assign(process.stdout, { isTTY, columns });
  }
});

test('the nearest names', () => {
  assert.equal(nearest('vgg16', ['vgg11_bn', 'vgg16_bn']), ['vgg16_bn']);
  assert.equal(nearest('PublicTst', ['Training', 'PublicTest', 'PrivateTest']), ['PublicTest']);
  assert.equal(nearest('vgg1', ['vgg11', 'vgg13', 'vgg16', 'vgg19']), ['vgg11', 'vgg13', 'vgg16']);
  assert.equal(nearest('epoch', ['freezeEpochs', 'epochs']), ['epochs']);
  assert.equal(nearest('sdg', ['sgd', 'adam']), ['sgd']);
  assert.equal(nearest('zebra', ['sgd', 'adam']), []);
  assert.equal(nearest('', ['sgd']), []);
});

test('words for messages', () => {
  assert.is(listOf(['a']), 'a');
  assert.is(listOf(['a', 'b', 'c'], 'and'), 'a, b and c');
  assert.equal([counted(1, 'class', 'classes'), counted(2100, 'image')], ['1 class', '2,100 images']);
  assert.equal([inPercent(0.125), inPercent(0.125, 0), thousands(1234567)], ['12.5 %', '13 %', '1,234,567']);
});

test('a command names its flags where the library names its options', () => {
  const said = {
    'batch 15 is larger than the set.': '--batch 15 is larger than the set.',
    'batch 1: too few. Use batch 2 or more.': '--batch 1: too few. Use --batch 2 or more.',
    'accumulate 3: times batch 7 it is too much.': '--accumulate 3: times batch 7 it is too much.',
    'precision f16: none here. Use precision f32.': '--precision f16: none here. Use --precision f32.',
    'm.pth: holds a resnet18. Give arch resnet18.': 'm.pth: holds a resnet18. Give --arch resnet18.',
    'm.pth: does not fit. Give width 0.25.': 'm.pth: does not fit. Give --width 0.25.',
  };
  for (const [message, flagged] of Object.entries(said)) assert.is(withFlags(message), flagged);
  for (const message of ['size chart.png: no image.', 'm.pth: cut short. Give a file of it.', 'Use batch 2.'])
    assert.is(withFlags(message), message);
});

/** What `--help` prints of one command, or of the program. */
function help(name?: string): string {
  const write = process.stdout.write;
  let shown = '';
  process.stdout.write = ((text: string) => {
    shown += text;
    return true;
  }) as typeof write;
  try {
    assert.is(readCommandLine(name ? [name, '--help'] : ['--help'], commands, '1.2.3'), null);
  } finally {
    process.stdout.write = write;
  }
  return shown;
}

test.run();
