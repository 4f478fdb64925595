import { runProcess } from '../../process/run-process.ts';
import { startClickHouseFront } from './front.ts';

runProcess(startClickHouseFront, (front) => ({ port: front.port }));
