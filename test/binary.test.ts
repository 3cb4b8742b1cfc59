import { test } from 'uvu';
import { binaryCases } from './cases/binary.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(binaryCases);

test.run();
