/** Runs `act` with `process.platform` saying `platform`; paths stay those of this system. */
export function onPlatform<T>(platform: NodeJS.Platform, act: () => T): T {
  const own = Object.getOwnPropertyDescriptor(process, 'platform')!;
  Object.defineProperty(process, 'platform', { ...own, value: platform });
  try {
    return act();
  } finally {
    Object.defineProperty(process, 'platform', own);
  }
}
