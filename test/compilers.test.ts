// bench/compilers: what it reads in a driver's print. The assembly is RADV's for navi31 and vega20, shortened.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MARK } from '../bench/compilers/messages.ts';
import { Reader } from '../bench/compilers/reader.ts';
import { statisticsOf } from '../bench/compilers/statistics.ts';
import { waitsOf } from '../bench/compilers/waits.ts';

const products = (count: number) => Array<string>(count).fill('\tv_fmac_f32_e32 v0, v1, v2      ; 56000501');
const load = '\tbuffer_load_b128 v[44:47], v47, s[32:35], 0 offen      ; e05c0000 804';
const wait = (left: number) => `\ts_waitcnt vmcnt(${left})      ; bf8903f7`;

/** A loop in which each wave loads one operand of two, with `middle` before its products. */
const loop = (...middle: string[]) => [
  'BB20:',
  '\ts_cmp_lt_u32 s19, s4',
  '\ts_cbranch_scc1 BB42',
  'BB23:',
  '\ts_mov_b64 exec, vcc',
  '\ts_cbranch_execz BB26',
  'BB24:',
  load,
  load,
  'BB26:',
  '\ts_and_not1_b64 exec, -1, exec',
  '\ts_cbranch_execz BB29',
  'BB27:',
  // Only a wave with lanes on both sides would wait here for anything.
  wait(0),
  load,
  load,
  'BB29:',
  '\ts_mov_b64 exec, -1',
  ...middle,
  ...products(16),
  wait(0),
  '\tds_store_b128 v0, v[36:39]',
  '\ts_branch BB20',
  'BB42:',
  '\ts_endpgm',
];

test('loads that arrive during the products are not waited for', () => {
  assert.equal(waitsOf(loop()), { loads: 2, waited: 0 });
});

test('loads that the products wait for are counted, on the worst way', () => {
  assert.equal(waitsOf(loop(wait(1))), { loads: 2, waited: 1 });
  assert.equal(waitsOf(loop('\ts_waitcnt vmcnt(0) lgkmcnt(0)')), { loads: 2, waited: 2 });
  const uniform = ['\ts_cbranch_scc0 BB31', 'BB30:', load, wait(0), 'BB31:'];
  assert.equal(waitsOf(loop(...uniform)), { loads: 3, waited: 3 });
});

test('waits for other memory, and conversions, are none of it', () => {
  const convert = '\tv_fma_mixlo_f16 v24, v36, 1.0, neg(0)';
  assert.equal(waitsOf(loop('\ts_waitcnt lgkmcnt(0)', convert, '\tv_mad_u32_u24 v1, v2, v3, v4')), {
    loads: 2,
    waited: 0,
  });
});

test('products in a loop of their own belong to the loop with the loads', () => {
  const inner = ['BB30:', ...products(16), '\ts_cbranch_scc1 BB30', 'BB31:'];
  const lines = ['BB1:', load, wait(0), load, ...inner, wait(0), '\ts_cbranch_scc1 BB1', 'BB2:', '\ts_endpgm'];
  assert.equal(waitsOf(lines), { loads: 2, waited: 1 });
});

test('a matrix product is worth a loop', () => {
  const product = '\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]';
  assert.equal(waitsOf(['BB1:', load, product, '\ts_cbranch_scc1 BB1']), { loads: 1, waited: 0 });
});

test('no answer without such a loop, and for assembly of another generation', () => {
  assert.is(waitsOf(['BB0:', load, wait(0), ...products(32), '\ts_endpgm']), null);
  assert.is(waitsOf(['BB0:', ...products(32), '\ts_cbranch_scc1 BB0']), null);
  assert.is(waitsOf(loop('\ts_wait_loadcnt 0x0')), null);
});

const statistics = `*** SHADER STATS ***
Driver pipeline hash: 5793546845106579128
SGPRs: 128
VGPRs: 96
Spilled SGPRs: 3
Spilled VGPRs: 2
Code size: 5808
LDS size: 8704
Scratch size: 64
Subgroups per SIMD: 16
Instructions: 1244
Pre-Sched VGPRs: 67
********************`.split('\n');

test('statistics by their names', () => {
  assert.equal(statisticsOf(statistics), {
    registers: 96,
    spilledVectors: 2,
    spilledScalars: 3,
    scratchBytes: 64,
    workgroupBytes: 8704,
    waves: 16,
    instructions: 1244,
  });
  assert.is(statisticsOf(statistics.slice(0, 4)), null);
});

test('what stands between marks is about a kernel', () => {
  const reader = new Reader();
  const say = (message: object) => reader.read(MARK + JSON.stringify(message));
  reader.read('WARNING: radv is not a conformant Vulkan implementation, testing use only.');
  say({ adapter: 'Null hardware (RADV NAVI31)', driver: 'radv: Mesa 25.0.7' });
  for (const label of ['matmul_tile.main BM=64 BN=64', 'splits.main']) {
    say({ begin: label, variant: 'tile 64×64×16', problem: 'matmul 512×512×512' });
    if (label !== 'splits.main') for (const line of [...loop(), ...statistics]) reader.read(line);
    say({ end: label, compiled: true });
  }
  say({ failed: 'conv1_2 f32', why: 'it does not compile' });
  assert.not(reader.done);
  say({ done: true });
  assert.ok(reader.done);
  assert.is(reader.adapter, 'Null hardware (RADV NAVI31)');
  assert.equal(
    reader.kernels.map(({ kernel, consts, registers, waits }) => ({ kernel, consts, registers, waits })),
    [{ kernel: 'matmul_tile.main', consts: 'BM=64 BN=64', registers: 96, waits: { loads: 2, waited: 0 } }],
  );
  assert.equal(reader.failures, ['splits.main: the driver printed no statistics', 'conv1_2 f32: it does not compile']);
});

test.run();
