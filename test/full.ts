// Loaded before the tests by `npm run test:full`: variants, kills and slow networks, too.
process.env.DAWNGRAD_TEST = 'full';
