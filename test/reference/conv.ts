import { nhwc, type Pair, pair, type Values, values } from './values.ts';

/** y[m,n] = Σₖ a[m,k]·b[k,n], where a is given as [K,M] if `transposeA`, and b as [N,K] if `transposeB`. */
export function matmul(a: Values, b: Values, { transposeA = false, transposeB = false } = {}): Values {
  const [M, K] = transposeA ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!];
  const [bK, N] = transposeB ? [b.shape[1]!, b.shape[0]!] : [b.shape[0]!, b.shape[1]!];
  if (a.shape.length !== 2 || b.shape.length !== 2 || K !== bK) throw new Error(`matmul: [${a.shape}], [${b.shape}]`);
  const [stepAm, stepAk] = transposeA ? [1, M] : [K, 1];
  const [stepBk, stepBn] = transposeB ? [1, K] : [N, 1];
  const y = values([M, N]);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let total = 0;
      for (let k = 0; k < K; k++) total += a.data[m * stepAm + k * stepAk]! * b.data[k * stepBk + n * stepBn]!;
      y.data[m * N + n] = total;
    }
  }
  return y;
}

/** y[n,o] = b[o] + Σᵢ x[n,i]·w[o,i]. x [N,I], w [O,I], b [O] or null. */
export function linear(x: Values, w: Values, b: Values | null): Values {
  const y = matmul(x, w, { transposeB: true });
  const outputs = w.shape[0]!;
  if (b) for (let i = 0; i < y.data.length; i++) y.data[i]! += b.data[i % outputs]!;
  return y;
}

/**
 * y[n,p,q,k] = b[k] + Σ_{r,s,c} x[n, p·stride+r−padding, q·stride+s−padding, c]·w[k,r,s,c], zero outside of x.
 *
 * x [N,H,W,C], w [K,R,S,C], b [K] or null → y [N,P,Q,K], P = ⌊(H + 2·padding − R)/stride⌋ + 1.
 */
export function conv2d(
  x: Values,
  w: Values,
  b: Values | null,
  { stride = 1, padding = 0 }: { stride?: Pair; padding?: Pair } = {},
): Values {
  const [N, H, W, C] = nhwc('conv2d', x);
  const [K, R, S, wC] = nhwc('conv2d', w);
  if (C !== wC) throw new Error(`conv2d: w [${w.shape}] does not fit x [${x.shape}]`);
  const [strideH, strideW] = pair(stride);
  const [padH, padW] = pair(padding);
  const P = Math.floor((H + 2 * padH - R) / strideH) + 1;
  const Q = Math.floor((W + 2 * padW - S) / strideW) + 1;
  const y = values([N, P, Q, K]);
  let to = 0;
  for (let n = 0; n < N; n++) {
    for (let p = 0; p < P; p++) {
      for (let q = 0; q < Q; q++) {
        for (let k = 0; k < K; k++) {
          let total = b ? b.data[k]! : 0;
          for (let r = 0; r < R; r++) {
            const h = p * strideH + r - padH;
            if (h < 0 || h >= H) continue;
            for (let s = 0; s < S; s++) {
              const v = q * strideW + s - padW;
              if (v < 0 || v >= W) continue;
              const fromX = ((n * H + h) * W + v) * C;
              const fromW = ((k * R + r) * S + s) * C;
              for (let c = 0; c < C; c++) total += x.data[fromX + c]! * w.data[fromW + c]!;
            }
          }
          y.data[to++] = total;
        }
      }
    }
  }
  return y;
}
