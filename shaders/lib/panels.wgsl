// The order in which workgroups take the tiles of a matrix. Those that run at once should share rows and columns, which then stay in
// the cache: tiles run to the end of a panel, PANEL tiles high, column by column, and then to the next panel; with PANELS_ACROSS
// panels stand upright, PANEL tiles wide, and tiles run down them row by row.
//
// An including shader defines TILE, rows and columns of a tile, PANEL and PANELS_ACROSS.
//
// host: tiles = ceil(rows / TILE.x)·ceil(columns / TILE.y), workgroups that lie along the grid's x and spill into y above 65,535.

// The first row and column of a workgroup's tile; past the end of the matrix for those that are too many. `extent`, rows and
// columns of the matrix, is at least 1.
fn tileOrigin(workgroup: vec3u, grid: vec3u, extent: vec2u) -> vec2u {
  let tiles = (extent + TILE - 1u) / TILE;
  let sides = select(tiles, tiles.yx, PANELS_ACROSS);
  let index = workgroup.x + workgroup.y * grid.x;
  let panel = index / (PANEL * sides.y);
  let inPanel = index - panel * PANEL * sides.y;
  let width = min(PANEL, max(sides.x, panel * PANEL + 1u) - panel * PANEL);
  let along = inPanel / width;
  let place = vec2u(panel * PANEL + inPanel - along * width, along);
  return select(place, place.yx, PANELS_ACROSS) * TILE;
}
