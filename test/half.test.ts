import { test } from 'uvu';
import { halved } from './cases/half.ts';
import { allCases } from './cases/index.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(halved(allCases));

test.run();
