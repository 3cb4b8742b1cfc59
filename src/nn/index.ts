export * from './groups.ts';
export * from './init.ts';
export * from './layers.ts';
export * from './module.ts';
