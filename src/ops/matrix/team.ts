import { wgslType } from '../../core/dtype.ts';
import { type Kernel, kernel } from '../../core/kernel.ts';
import { Tensor } from '../../core/tensor.ts';
import type { Adapter } from '../../gpu/gpu.ts';
import type { Grid } from '../../gpu/stream.ts';

/** How the matrix kernels divide work on an adapter: `shaders/lib/lanes*.wgsl`. */
export interface Team {
  /** Include that the kernels take for TEAM. */
  include: string;
  /** A team makes `rows` by 4·`lanes` results; a workgroup holds `teams` of them. */
  lanes: number;
  teams: number;
  rows: number;
}

/** A kind of team, with the heights of tile that it can be built for. */
interface TeamKind extends Omit<Team, 'rows'> {
  heights: readonly number[];
}

export const TEAM_OF_8: TeamKind = { include: 'lib/lanes8.wgsl', lanes: 8, teams: 1, heights: [8, 16, 32] };
const TEAM_OF_4: TeamKind = { include: 'lib/lanes4.wgsl', lanes: 4, teams: 1, heights: [8, 16] };
const ALONE: TeamKind = { include: 'lib/lanes1.wgsl', lanes: 8, teams: 8, heights: [4] };

/**
 * The kind of team that fits an adapter. Software drivers run a workgroup as one vector and pay for each load per lane, so lanes
 * load different values and hand them round by subgroup operations; hardware has caches and no use for that.
 */
export function teamKind({ software, features, subgroupSizes }: Adapter): TeamKind {
  if (!software || !features.has('subgroups')) return ALONE;
  if (subgroupSizes.min >= 8) return TEAM_OF_8;
  return subgroupSizes.min === 4 ? TEAM_OF_4 : ALONE;
}

/** The team for a result of `height` rows: its tiles are as high as the rows fill, for the higher, the fewer loads. */
export function teamFor(result: Tensor, height: number): Team {
  const { heights, ...kind } = teamKind(result.storage.gpu.adapter);
  return { ...kind, rows: heights.find((rows) => rows >= height) ?? heights.at(-1)! };
}

export const MAX_GROUPS = 65_535;

/** Workgroups for rows×columns results, `depth` times: in parts, phases or products of a batch. */
export function tileGrid({ lanes, teams, rows }: Team, height: number, width: number, depth: number): Grid {
  const tiles = tileCount({ lanes, teams, rows }, height, width);
  return [Math.min(tiles, MAX_GROUPS), Math.ceil(tiles / MAX_GROUPS), depth];
}

export const tileCount = ({ lanes, teams, rows }: Omit<Team, 'include'>, height: number, width: number): number =>
  Math.ceil(height / (rows * teams)) * Math.ceil(width / (4 * lanes));

/** The entry point of a matrix kernel that fits the results' extent: one stores four values at once, the other any number. */
export const storing =
  (main: Kernel, ragged: Kernel) =>
  (extent: number): Kernel =>
    extent % 4 === 0 ? main : ragged;

/** What an operand is read as, four values at once or one: its type in memory, and the same in f32. */
export const operandTypes = (name: string, { dtype }: Tensor, vectors: boolean): Record<string, string> => ({
  [`${name}Elem`]: wgslType(dtype, vectors ? 4 : 1),
  [`${name}Wide`]: wgslType('f32', vectors ? 4 : 1),
});

/** What a result is stored as by `main` and by `ragged`. */
export const resultTypes = (name: string, { dtype }: Tensor): Record<string, string> => ({
  [`${name}Elem`]: wgslType(dtype, 4),
  [`${name}Scalar`]: wgslType(dtype),
});

/**
 * Bytes that the parts of one split reduction take at most: they lie in memory beside all that a training step holds, and each
 * size of them is a buffer that the pool keeps. A result so large that this counts has many tiles and hardly needs parts.
 */
export const MAX_PART_BYTES = 2 ** 24;

/**
 * A temporary for `splits` partial results of y, one after the other, in f32. Sizes are powers of four, so that all layers of a
 * network share a few buffers: of their own sizes, VGG16_bn's hold 39 MB more (batch 64, 48 px).
 */
export const partsOf = (y: Tensor, splits: number): Tensor =>
  Tensor.empty([4 ** Math.ceil(Math.log2(splits * y.size) / 2)]);

const sum = storing(kernel('splits', 'main'), kernel('splits', 'ragged'));

/** y = Σ over the parts of a split reduction (+ bias, along the last dimension), in order. */
export function sumSplits(part: Tensor, y: Tensor, splits: number, bias: Tensor | null = null): void {
  const size = y.size;
  const period = bias?.size ?? size;
  const groups = Math.ceil((period % 4 === 0 ? size / 4 : size) / 64);
  const grid: Grid = [Math.min(groups, MAX_GROUPS), Math.ceil(groups / MAX_GROUPS), 1];
  sum(period)(
    resultTypes('Y', y),
    { part, bias: bias ?? part, y },
    { size, splits, period, hasBias: bias ? 1 : 0 },
    grid,
  );
}
