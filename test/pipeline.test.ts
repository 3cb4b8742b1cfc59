// Pipelines by what they are made of, on a device that compiles nothing.
import { setImmediate } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PipelineCache } from '../src/gpu/pipeline.ts';

const code = `const ROWS: u32 = 1u;
const COLUMNS: u32 = 1u;
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1)
fn main() {
  out[0] = 1u;
}
@compute @workgroup_size(1)
fn other() {
  out[1] = f32(ROWS * COLUMNS);
}
`;

function fakeDevice(messages: object[] = []) {
  const calls = { pushErrorScope: 0, popErrorScope: 0, createComputePipelineAsync: 0 };
  const device = {
    features: new Set<string>(),
    pushErrorScope: () => void calls.pushErrorScope++,
    popErrorScope: async () => void calls.popErrorScope++,
    createShaderModule: () => ({ getCompilationInfo: async () => ({ messages }) }),
    createComputePipelineAsync: async () => ({ made: calls.createComputePipelineAsync++ }),
  } as unknown as GPUDevice;
  const source = (path: string): string => {
    if (path === 'a.wgsl' || path === 'b.wgsl') return code;
    throw new Error(path);
  };
  return { calls, pipelines: new PipelineCache(device, source, 'A GPU') };
}

test('a guess is taken where all of it is right, and each pipeline is made once', async () => {
  const { calls, pipelines } = fakeDevice();
  const guess = pipelines.get('a', 'main', { ROWS: 2 });
  assert.is(pipelines.get('a', 'main', { ROWS: 2 }), guess);
  assert.is(pipelines.get('a', 'main', { ROWS: 2 }, guess), guess);
  const others = [
    ['b', 'main', { ROWS: 2 }],
    ['a', 'other', { ROWS: 2 }],
    ['a', 'main', {}],
    ['a', 'main', { ROWS: 3 }],
    ['a', 'main', { COLUMNS: 2 }],
    ['a', 'main', { ROWS: 2, COLUMNS: 2 }],
  ] as const;
  const found = others.map(([name, entry, consts]) => pipelines.get(name, entry, consts, guess));
  for (const [i, [name, entry, consts]] of others.entries())
    assert.equal([found[i]!.name, found[i]!.entry, found[i]!.consts], [name, entry, consts]);
  assert.is(pipelines.get('a', 'main', { ROWS: 2 }, found.at(-1)), guess, 'nor one with more constants');
  assert.equal([...new Set([guess, ...found].map(({ id }) => id))], [0, 1, 2, 3, 4, 5, 6]);
  await Promise.all([guess, ...found].map(({ compiled }) => compiled));
  assert.ok(guess.handle);
  assert.equal(calls, { pushErrorScope: 7, popErrorScope: 7, createComputePipelineAsync: 7 });
});

test('what the caller makes of its constants later does not change a pipeline', () => {
  const { pipelines } = fakeDevice();
  const consts = { ROWS: 2 };
  const made = pipelines.get('a', 'main', consts);
  consts.ROWS = 3;
  assert.is.not(pipelines.get('a', 'main', { ROWS: 3 }, made), made);
});

test('what does not compile is told where it is used, with three lines before and behind, and nowhere else', async () => {
  const errors = [
    { type: 'warning', lineNum: 1, message: 'odd' },
    { type: 'error', lineNum: 6, message: 'no f32' },
    { type: 'error', lineNum: 1, message: 'first' },
  ];
  const { calls, pipelines } = fakeDevice(errors);
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on('unhandledRejection', note);
  const { compiled } = pipelines.get('a', 'main', {});
  for (let i = 0; i < 3; i++) await setImmediate();
  process.off('unhandledRejection', note);
  assert.equal(unhandled, []);
  let message = '';
  await compiled.catch((error: Error) => {
    message = error.message;
  });
  const lines = code.split('\n').map((line, i) => `${String(i + 1).padStart(4)} | ${line}`);
  const shown = (from: number, marked: number, to: number) =>
    lines.slice(from - 1, to).map((line, i) => `${from + i === marked ? '>' : ' '} ${line}`);
  const expected = ['a.main does not compile on A GPU: no f32', ...shown(3, 6, 9), 'first', ...shown(1, 1, 4)];
  assert.equal(message.split('\n'), expected);
  assert.is(calls.createComputePipelineAsync, 0, 'Dawn would end the process');
});

test.run();
