// What the kernels that sum down the columns of x[M, C] share. The rows are cut into chunks, each summed by one invocation or one
// workgroup (COLUMNS) into a partial sum of two values a column; the next kernel combines the partial sums in fixed order before
// it does its own work, so that no dispatch is spent on them. Neighbouring invocations have neighbouring columns.
//
// An including shader defines `Vec`, what is computed with (four columns at once where their number allows it; C then counts
// fours), and `fn combine(p: Sum, q: Sum) -> Sum`.
//
// Loops over rows, and over the partial sums of chunks, take four at once where FOURS is set, and what is left one by one, in the
// same order: on a GPU there are few invocations for the latency of memory, so each has four loads on their way.
//#include "lib/grid.wgsl"
//#include COLUMNS "lib/columns_alone.wgsl"

const FOURS: bool = false;

// Of n rows.
struct Sum { n: f32, a: Vec, b: Vec }
// Where an invocation works: its column, its chunk of rows, its rank among the lanes that share the chunk.
struct Place { column: u32, chunk: u32, lane: u32, inside: bool }

// True where the chunk is the whole column and the kernel that needs the sums makes them itself: only an invocation that is alone.
fn sumsItself(whole: u32) -> bool { return LANES == 1u && whole != 0u; }
