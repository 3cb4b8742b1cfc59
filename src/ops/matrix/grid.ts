import { gridOf } from '../../core/kernel.ts';
import type { Grid } from '../../gpu/stream.ts';
import type { Extents } from './problem.ts';

/** Results that a workgroup makes, down and across. */
export type Tile = readonly [rows: number, columns: number];

type Results = Pick<Extents, 'M' | 'N'>;

export const tileCount = ({ M, N }: Results, [rows, columns]: Tile): number =>
  Math.ceil(M / rows) * Math.ceil(N / columns);

/** A workgroup for each tile of M×N results, `depth` times: in parts, phases or products of a batch. */
export const tileGrid = (results: Results, tile: Tile, depth: number): Grid => gridOf(tileCount(results, tile), depth);
