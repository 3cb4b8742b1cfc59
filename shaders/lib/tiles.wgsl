// The order in which workgroups take the tiles of a result.
const PANEL: u32 = 4u;

// The workgroup's first row and first column. Tiles run down a panel of PANEL tiles, then across, then to the next panel: a
// panel's rows stay in the cache while the columns pass, and neighbours share columns.
fn tileOrigin(workgroup: vec3u, grid: vec3u, rows: u32, columns: u32) -> vec2u {
  let tilesDown = (rows + ROWS * TEAMS - 1u) / (ROWS * TEAMS);
  let tilesAcross = (columns + 4u * LANES - 1u) / (4u * LANES);
  let index = workgroup.x + workgroup.y * grid.x;
  let panel = index / (PANEL * tilesAcross);
  let inPanel = index - panel * PANEL * tilesAcross;
  let height = min(PANEL, max(tilesDown, panel * PANEL + 1u) - panel * PANEL);
  let across = inPanel / height;
  return vec2u((panel * PANEL + inPanel - across * height) * ROWS * TEAMS, across * 4u * LANES);
}
