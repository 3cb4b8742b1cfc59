import { test } from 'uvu';
import { reshapeCases } from './cases/reshape.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(reshapeCases);

test.run();
