import { runProcess } from '../../../core/runtime/launcher/run-process.ts';
import { startClickHouseFront } from './front.ts';

runProcess(startClickHouseFront, (front) => ({ port: front.port }));
