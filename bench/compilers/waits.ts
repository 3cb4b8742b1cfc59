/** Loads of a kernel's main loop, on the way through a turn of it that waits for most of them. */
export interface Waits {
  /** Loads on their way, or waited for, when the products begin. */
  loads: number;
  /** Those that were waited for: their whole latency is in each turn. */
  waited: number;
}

/** A block of the assembly: straight code, but for the branches at its end. */
interface Block {
  readonly label: string;
  readonly instructions: string[];
}

/** Blocks that are run again and again: from the first, to which the last branches back. */
interface Loop {
  readonly first: number;
  readonly last: number;
}

/** A wave on its way to the products. */
interface Wave extends Waits {
  /** Index of the block. */
  block: number;
  /** Loads on their way: they arrive in order. */
  pending: number;
  /** True where the branch hither passed over a block that none of its lanes runs. */
  passed: boolean;
}

/** Multiply-adds, not those that only convert (v_fma_mixlo_f16) and those of addresses (v_mad_u32_u24). */
const PRODUCT = /^v_(?:(?:dual_)?(?:fmac?|mac|mad)|pk_(?:fma|mad)|fma_mix|mad_mix|dot2c?|wmma)_f(?:16|32)/;
const MATRIX_PRODUCT = /^v_wmma/;
const LOAD = /^(?:buffer|global|flat)_load/;
const WAIT = /^s_waitcnt\b.*\bvmcnt\((\d+)\)/;
const BRANCH = /^s_(c?)branch(\w*) (BB\d+)/;
/** Turns the lanes around for an `else`: a branch past it follows, where no lane is left. */
const ELSE = /^s_(?:andn2|and_not1|xor|not)_b(?:32|64) exec/;
/** Instead of WAIT from GFX12 on. */
const LATER_WAIT = '\ts_wait_loadcnt';
/** A loop with less than this in each of its blocks is not about products. */
const FEWEST_PRODUCTS = 16;

/**
 * How many vector-memory loads of the main loop are waited for (`s_waitcnt vmcnt`) between their issue and the first
 * multiply-add of the same turn. None is what a kernel wants that loads its next tile while it multiplies this one.
 *
 * The main loop is the innermost one that has both loads and the block with the most multiply-adds. All ways through it
 * to that block are tried, and the worst counts. Of `if` and `else` a wave takes one: their lanes are taken to agree, as
 * they do where whole waves load one operand. Inner loops are gone through once.
 *
 * `lines` is what RADV_DEBUG=asm prints for GFX9 to GFX11. Null where that has no such loop, or is no such assembly.
 */
export function waitsOf(lines: readonly string[]): Waits | null {
  if (lines.some((line) => line.startsWith(LATER_WAIT))) return null;
  const blocks = blocksOf(lines);
  const loops = loopsOf(blocks);
  const products = blocks.map(({ instructions }) => countProducts(instructions));
  const inLoops = products.map((count, i) => (loops.some((loop) => isIn(loop, i)) ? count : 0));
  const most = Math.max(0, ...inLoops);
  if (most < FEWEST_PRODUCTS) return null;
  const target = inLoops.indexOf(most);
  const loads = (loop: Loop) =>
    blocks.slice(loop.first, loop.last + 1).some(({ instructions }) => instructions.some((text) => LOAD.test(text)));
  const main = loops
    .filter((loop) => isIn(loop, target) && loads(loop))
    .sort((a, b) => a.last - a.first - (b.last - b.first))[0];
  return main ? worstWay(blocks, main, target) : null;
}

const isIn = ({ first, last }: Loop, block: number): boolean => first <= block && block <= last;

function countProducts(instructions: readonly string[]): number {
  const products = instructions.filter((text) => PRODUCT.test(text));
  return products.some((text) => MATRIX_PRODUCT.test(text))
    ? Math.max(FEWEST_PRODUCTS, products.length)
    : products.length;
}

function blocksOf(lines: readonly string[]): Block[] {
  const blocks: Block[] = [];
  for (const line of lines) {
    const label = /^(BB\d+):/.exec(line)?.[1];
    if (label) blocks.push({ label, instructions: [] });
    else if (line.startsWith('\t')) blocks.at(-1)?.instructions.push(line.trim());
  }
  return blocks;
}

/** The loops, one for each block that is branched back to. */
function loopsOf(blocks: readonly Block[]): Loop[] {
  const lastOf = new Map<number, number>();
  for (const [i, { instructions }] of blocks.entries()) {
    for (const text of instructions) {
      const to = BRANCH.exec(text)?.[3];
      const first = blocks.findIndex(({ label }) => label === to);
      if (first >= 0 && first <= i) lastOf.set(first, i);
    }
  }
  return [...lastOf].map(([first, last]) => ({ first, last }));
}

function worstWay(blocks: readonly Block[], loop: Loop, target: number): Waits | null {
  let worst: Waits | null = null;
  const seen = new Set<string>();
  const open: Wave[] = [{ block: loop.first, pending: 0, loads: 0, waited: 0, passed: false }];
  for (let wave = open.pop(); wave; wave = open.pop()) {
    const key = Object.values(wave).join();
    if (seen.has(key) || !isIn(loop, wave.block)) continue;
    seen.add(key);
    const next = follow(blocks, wave, target);
    if (Array.isArray(next)) open.push(...next);
    else if (!worst || next.waited > worst.waited || (next.waited === worst.waited && next.loads > worst.loads))
      worst = { loads: next.loads, waited: next.waited };
  }
  return worst;
}

/** Runs a block: the wave as it is at the first product of `target`, or those that it may be at the starts of other blocks. */
function follow(blocks: readonly Block[], from: Wave, target: number): Wave | Wave[] {
  const wave = { ...from, passed: false };
  const ways: Wave[] = [];
  let isElse = false;
  for (const text of blocks[from.block]!.instructions) {
    if (from.block === target && PRODUCT.test(text)) return wave;
    if (LOAD.test(text)) {
      wave.pending++;
      wave.loads++;
    }
    const left = WAIT.exec(text)?.[1];
    if (left !== undefined && Number(left) < wave.pending) {
      wave.waited += wave.pending - Number(left);
      wave.pending = Number(left);
    }
    if (ELSE.test(text)) isElse = true;
    const branch = BRANCH.exec(text);
    if (!branch) continue;
    const [, conditional, condition, label] = branch;
    const to = blocks.findIndex((block) => block.label === label);
    // Back to where an inner loop starts: it has been gone through.
    if (to <= from.block) continue;
    const passes = condition === '_execz';
    if (passes && isElse && from.passed) continue;
    ways.push({ ...wave, block: to, passed: passes });
    if (!conditional || (passes && isElse)) return ways;
  }
  ways.push({ ...wave, block: from.block + 1 });
  return ways;
}
