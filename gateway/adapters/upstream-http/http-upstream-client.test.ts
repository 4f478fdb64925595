import { httpUpstreamContract } from '../../lanes/http/http-upstream-contract.ts';
import { createHttpUpstream } from './http-upstream-client.ts';

httpUpstreamContract('own client over node:net', createHttpUpstream);
