// Early stopping, from the options to the run folder.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMetricsCsv } from '../src/train/metrics.ts';
import { readRecord } from '../src/train/runrecord.ts';
import { hashOf } from './child.ts';
import { pixelField, scratchFolder } from './files.ts';
import { said, smallest } from './said.ts';

const folder = scratchFolder();
test.after(() => folder.remove());
const at = (...names: string[]): string => join(folder.path, ...names);
const adapter = process.env.DAWNGRAD_ADAPTER || 'auto';

/** One image under every name validates: a seventh is right, whatever the network says, and the first epoch stays the best. */
const rows = Array.from({ length: 21 }, (_, i) =>
  i < 14 ? `${i % 7},${pixelField(i)},Training` : `${i % 7},${pixelField(99)},PublicTest`,
);
const csv = folder.write('faces.csv', ['emotion,pixels,Usage', ...rows, ''].join('\n'));
const still = { ...smallest, data: csv, adapter, epochs: 9, lr: 1e-3 } as const;

const early = /^Stopped early, after epoch 3 of 9: none of the last 2 was better than epoch 1 \(patience 2\)\.$/m;

test('--patience ends a run that no longer gets better; it is finished, and everything says why', async () => {
  assert.match(await said({ ...still, patience: 2, out: at('run') }), early);
  const { result } = readRecord(at('run', 'run.json'));
  assert.equal(
    [result!.status, result!.stoppedEarly, result!.epochs, result!.bestEpoch, result!.steps],
    ['finished', true, 3, 1, 6],
  );
  const losses = parseMetricsCsv(readFileSync(at('run', 'metrics.csv'), 'utf8'), 'run').map((row) => row.validLoss);
  assert.equal([result!.validLoss, losses.indexOf(result!.validLoss!)], [losses[0], 0]);
  assert.match(
    readFileSync(at('run', 'report.html'), 'utf8'),
    'The run stopped early: 2 epochs in a row were no better than epoch 1.',
  );
  assert.match(await said({ resume: at('run'), adapter }), /the run is finished; nothing is left to do/);
});

test('a run killed when its patience was at an end has nothing left to train', async () => {
  const record = JSON.parse(readFileSync(at('run', 'run.json'), 'utf8'));
  const { result } = record;
  writeFileSync(at('run', 'run.json'), JSON.stringify({ ...record, result: null }));
  const before = hashOf(at('run', 'last', 'checkpoint.safetensors'));
  const losses = readFileSync(at('run', 'top-losses.png'));
  assert.match(await said({ resume: at('run'), adapter }), early);
  const again = readRecord(at('run', 'run.json')).result!;
  assert.equal([again.status, again.stoppedEarly, again.epochs], ['finished', true, result.epochs]);
  assert.is(hashOf(at('run', 'last', 'checkpoint.safetensors')), before);
  assert.ok(readFileSync(at('run', 'top-losses.png')).equals(losses), 'of the best weights, as before');
});

test('a run that is stopped on the way and continued ends where one in a go does', async () => {
  await said({ ...still, patience: 2, out: at('parts'), maxMinutes: 1e-6 });
  assert.is(readRecord(at('parts', 'run.json')).result!.status, 'stopped');
  await said({ resume: at('parts'), adapter, checkpointEvery: 1 });
  assert.is(hashOf(at('parts', 'last', 'checkpoint.safetensors')), hashOf(at('run', 'last', 'checkpoint.safetensors')));
  const losses = (run: string) =>
    parseMetricsCsv(readFileSync(at(run, 'metrics.csv'), 'utf8'), run).map(({ trainLoss, validLoss }) => [
      trainLoss,
      validLoss,
    ]);
  assert.equal(losses('parts'), losses('run'));
});

test('patience that lasts to the end is no early stop', async () => {
  assert.not.match(await said({ ...still, patience: 1, epochs: 2, out: at('short') }), /early/);
  const { result } = readRecord(at('short', 'run.json'));
  assert.equal([result!.status, result!.stoppedEarly, result!.epochs], ['finished', undefined, 2]);
  assert.not.match(readFileSync(at('short', 'report.html'), 'utf8'), /stopped early/);
});

test('patience begins when the body is no longer frozen', async () => {
  const phases = { pretrained: at('run', 'model.safetensors'), freezeEpochs: 3, epochs: 4, patience: 1 };
  const shown = await said({ ...still, ...phases, out: at('phases') });
  assert.match(shown, /^Stopped early, after epoch 4 of 7: it was not better than epoch 1 \(patience 1\)\.$/m);
});

test.run();
