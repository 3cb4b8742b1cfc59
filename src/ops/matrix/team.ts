import type { Tensor } from '../../core/tensor.ts';
import type { Adapter } from '../../gpu/gpu.ts';
import type { Tile } from './grid.ts';

/** How the `lanes` kernels divide work on an adapter: `shaders/lib/lanes*.wgsl`. */
interface TeamKind {
  /** Include that the kernels take for TEAM. */
  include: string;
  /** A team makes some rows by 4·`lanes` results; a workgroup holds `teams` of them, one below the other. */
  lanes: number;
  teams: number;
  /** Rows that the kernels can be built for. */
  heights: readonly number[];
}

/** The constants of a kernel that say how it divides work, and what a workgroup then makes. */
export interface Team {
  consts: { TEAM: string; LANES: number; ROWS: number };
  tile: Tile;
}

export const TEAM_OF_8: TeamKind = { include: 'lib/lanes_broadcast.wgsl', lanes: 8, teams: 1, heights: [8, 16, 32] };
const TEAM_OF_4: TeamKind = { include: 'lib/lanes4.wgsl', lanes: 4, teams: 1, heights: [8, 16] };
/**
 * For lavapipe on processors whose vectors are 4 wide, as on ARM: the swaps of lanes4.wgsl are slow there, and a matrix product took 8
 * times as long by them (Mesa 25.0.7, SSE).
 */
const TEAM_OF_4_ON_LAVAPIPE: TeamKind = { ...TEAM_OF_8, lanes: 4, heights: [8, 16] };
const ALONE: TeamKind = { include: 'lib/lanes1.wgsl', lanes: 8, teams: 8, heights: [4] };

/**
 * The kind of team that fits an adapter. Software drivers run a workgroup as one vector and pay for each load per lane, so lanes
 * load different values and hand them round by subgroup operations; hardware has caches and no use for that.
 */
export function teamKind({ kind, software, features, subgroupSizes }: Adapter): TeamKind {
  if (!software || !features.has('subgroups')) return ALONE;
  if (subgroupSizes.min >= 8) return TEAM_OF_8;
  if (subgroupSizes.min < 4) return ALONE;
  return kind === 'lavapipe' ? TEAM_OF_4_ON_LAVAPIPE : TEAM_OF_4;
}

/** The team for a result of `height` rows: its tiles are as high as the rows fill, for the higher, the fewer loads. */
export function teamFor(result: Tensor, height: number): Team {
  const { include, lanes, teams, heights } = teamKind(result.storage.gpu.adapter);
  const ROWS = heights.find((rows) => rows >= height) ?? heights.at(-1)!;
  return { consts: { TEAM: include, LANES: lanes, ROWS }, tile: [ROWS * teams, 4 * lanes] };
}
