import { flippedByteSuite } from './testing/flipped-byte-suite.ts';

flippedByteSuite(3);
