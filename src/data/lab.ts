/** sRGB's linear light of each byte, 0 to 1. */
const linear = Float64Array.from({ length: 256 }, (_, byte) => {
  const v = byte / 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
});

/** The white of D65. */
const WHITE = [0.95047, 1, 1.08883] as const;

const EDGE = 6 / 29;
const f = (t: number): number => (t > EDGE ** 3 ? Math.cbrt(t) : t / (3 * EDGE * EDGE) + 4 / 29);
const inverse = (t: number): number => (t > EDGE ? t ** 3 : 3 * EDGE * EDGE * (t - 4 / 29));

/**
 * CIELAB of sRGB bytes, [n, 3] to [n, 3]: L 0 to 100, a and b about −110 to 110. Source: IEC 61966-2-1 and CIE 15, white D65, 2°
 * observer.
 */
export function rgbToLab(rgb: Uint8Array): Float32Array {
  const lab = new Float32Array(rgb.length);
  for (let i = 0; i + 2 < rgb.length; i += 3) {
    const [r, g, b] = [linear[rgb[i]!]!, linear[rgb[i + 1]!]!, linear[rgb[i + 2]!]!];
    const x = f((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / WHITE[0]);
    const y = f((0.2126729 * r + 0.7151522 * g + 0.072175 * b) / WHITE[1]);
    const z = f((0.0193339 * r + 0.119192 * g + 0.9503041 * b) / WHITE[2]);
    lab[i] = 116 * y - 16;
    lab[i + 1] = 500 * (x - y);
    lab[i + 2] = 200 * (y - z);
  }
  return lab;
}

const toByte = (light: number): number => {
  const v = light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(1, Math.max(0, v)));
};

/** The way back; what sRGB cannot show is clipped. */
export function labToRgb(lab: Float32Array): Uint8Array {
  const rgb = new Uint8Array(lab.length);
  for (let i = 0; i + 2 < lab.length; i += 3) {
    const y = (lab[i]! + 16) / 116;
    const X = WHITE[0] * inverse(y + lab[i + 1]! / 500);
    const Y = WHITE[1] * inverse(y);
    const Z = WHITE[2] * inverse(y - lab[i + 2]! / 200);
    rgb[i] = toByte(3.2404542 * X - 1.5371385 * Y - 0.4985314 * Z);
    rgb[i + 1] = toByte(-0.969266 * X + 1.8760108 * Y + 0.041556 * Z);
    rgb[i + 2] = toByte(0.0556434 * X - 0.2040259 * Y + 1.0572252 * Z);
  }
  return rgb;
}
