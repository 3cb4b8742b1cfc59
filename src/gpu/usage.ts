/**
 * GPUBufferUsage and GPUMapMode as numbers. The specification fixes the values, browsers have them as globals and Dawn in Node
 * does not; own constants keep the globals clean. Source: WebGPU specification, "GPUBufferUsageFlags".
 */
export const USAGE = {
  MAP_READ: 0x0001,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  QUERY_RESOLVE: 0x0200,
} as const;

export const MAP_READ_MODE = 0x0001;
