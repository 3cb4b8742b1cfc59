// The phases of the gradient of a convolution's data: dx[n,h,w,c] = Σ dy[n,p,q,k]·w[k,r,s,c] over h = p·stride − pad + r. The tap r
// fits pixel h only where r ≡ h + pad (mod stride): the pixels fall into stride² phases, and each is a dense convolution of stride
// 1 over its own taps, none of which is wasted. A phase without taps is all zeros. Rows and columns are alike, so this is of one
// dimension. An including shader defines DGRAD; without it the only phase is the convolution itself.

// One dimension of a phase: `count` output positions, first, first + pitch, …; position i reads the input at
// i·step + start (modulo 2³²) and the `taps` after it. Tap t is row (column) lastTap − t·pitch of the kernel, without DGRAD t.
struct Axis { count: u32, first: u32, pitch: u32, step: u32, start: u32, taps: u32, lastTap: u32 }

// The lower the phase, the more taps it has.
fn axisOf(phase: u32, out: u32, kernel: u32, stride: u32, pad: u32) -> Axis {
  if (!DGRAD) {
    return Axis(out, 0u, 1u, stride, 0u - pad, kernel, 0u);
  }
  let first = (phase + (pad / stride + 1u) * stride - pad) % stride;
  let taps = (max(kernel, phase) - phase + stride - 1u) / stride;
  let count = (max(out, first) - first + stride - 1u) / stride;
  return Axis(count, first, stride, 1u, (first + pad) / stride + 1u - taps, taps, phase + (taps - 1u) * stride);
}
