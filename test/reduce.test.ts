import { test } from 'uvu';
import { reduceCases } from './cases/reduce.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(reduceCases);

test.run();
