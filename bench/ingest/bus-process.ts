import { startFileBus } from '../../core/bus/file-bus/file-bus-process.ts';
import { runProcess } from '../../core/runtime/launcher/run-process.ts';

runProcess(startFileBus, () => ({}));
