import type { Storage } from '../core/storage.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Consts } from '../gpu/shader.ts';

/** How the kernels that sum down the columns of x [m, C] share its rows: `shaders/lib/columns.wgsl`. */
export interface Columns {
  consts: Consts;
  /** Rows, columns in `Vec`s, rows of a chunk, chunks, rows of a lane that are summed before they are added to the rest. */
  params: { m: number; c: number; rows: number; chunks: number; block: number };
  /** Invocations in all. */
  threads: number;
  /** There is one chunk, and so little in it that a dispatch of its own for the sums takes longer than what it does. */
  whole: boolean;
}

/**
 * Software adapters take a column as one chunk where x has at most `size` values, so that a dispatch (25 µs) costs as much as sharing
 * them out would save, and where its columns make at least `workgroups` workgroups, which keep the cores busy.
 */
const WHOLE = { size: 2 ** 17, workgroups: 4 };

/** Lanes of a workgroup on hardware, the widest piece of a row that they take, and workgroups that fill a large GPU. */
const HARDWARE = { group: 256, wide: 64, workgroups: 256 };
const TREE = 'lib/columns_tree.wgsl';
/** Rows of a lane that are loaded together on hardware, and so the fewest that are worth a partial sum. */
const ROWS_AT_ONCE = 4;

/** Rows of a lane that are summed apart, then together: a lane's rounding is that of √rows terms twice over. */
const blockOf = (rows: number): number => Math.ceil(Math.sqrt(rows));

/** The same for one column of `rows` scalars that is summed at once: by one invocation, on hardware by one workgroup. */
export function columnOf({ gpu }: Storage, rows: number): { consts: Consts; block: number; threads: number } {
  if (gpu.adapter.software) return { consts: { GROUP: 1 }, block: blockOf(rows), threads: 1 };
  const { group } = HARDWARE;
  return { consts: { GROUP: group, WIDE: 1, COLUMNS: TREE }, block: blockOf(rows / group), threads: group };
}

/**
 * Chunks for x, whose last dimension are the columns.
 *
 * Each invocation of a kernel that follows combines the partial sums of all chunks first. On software adapters, where it is alone,
 * that is a small part of its work with about √m/4 chunks, which are enough for as many cores as such an adapter has; small
 * maps with many channels have one chunk. On hardware
 * the lanes of a workgroup share both, so there are chunks until the GPU is full.
 */
export function columnsOf(x: Tensor): Columns {
  const channels = x.shape.at(-1)!;
  const m = x.size / channels;
  const byFours = channels % 4 === 0;
  const types = { Vec: byFours ? 'vec4f' : 'f32' };
  const c = byFours ? channels / 4 : channels;
  const { software, subgroupSizes } = x.storage.gpu.adapter;
  if (software) {
    const GROUP = subgroupSizes.max || 8;
    const whole = x.size <= WHOLE.size && c >= WHOLE.workgroups * GROUP;
    const rows = whole ? m : Math.ceil(m / Math.ceil(Math.sqrt(m) / 4));
    const chunks = Math.ceil(m / rows);
    const params = { m, c, rows, chunks, block: blockOf(rows) };
    return { consts: { ...types, GROUP }, params, threads: chunks * c, whole };
  }
  const { group: GROUP, wide, workgroups } = HARDWARE;
  const WIDE = Math.min(wide, 2 ** Math.ceil(Math.log2(c)));
  const lanes = GROUP / WIDE;
  const across = Math.ceil(c / WIDE);
  const most = Math.max(1, Math.floor(m / (lanes * ROWS_AT_ONCE)));
  const wanted = Math.min(Math.ceil(workgroups / across), most);
  const rows = lanes * Math.ceil(m / (wanted * lanes));
  const chunks = Math.ceil(m / rows);
  const consts = { ...types, GROUP, WIDE, COLUMNS: TREE, FOURS: true };
  const block = ROWS_AT_ONCE * Math.ceil(blockOf(rows / lanes) / ROWS_AT_ONCE);
  return { consts, params: { m, c, rows, chunks, block }, threads: across * chunks * GROUP, whole: false };
}
