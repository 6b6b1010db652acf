// Callers that ask the edge of a running server one query after the other, each over a connection of its own:
// `k6 run -e SERVER=HOST:PORT -e VIEW=NAME tests/load/edge.js`.
// What a server that is begun anew refuses is tried again, as every client of ours does; what is left over is a failure.
import grpc from 'k6/net/grpc';
import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';

const client = new grpc.Client();
client.load([__ENV.PROTO || '../../proto'], 'fusion/v1/view_service.proto');
const again = new Counter('fusion_tried_again');
const seconds = __ENV.SECONDS || '20';

export const options = {
    scenarios: {
        queries: { executor: 'constant-vus', vus: Number(__ENV.CALLERS || 20), duration: `${seconds}s` },
    },
    thresholds: { checks: ['rate==1'] },
};

let connected = false;

function ask(method, message) {
    for (let tries = 0; ; tries += 1) {
        try {
            if (!connected) {
                client.connect(__ENV.SERVER, { plaintext: true, timeout: '2s' });
                connected = true;
            }
            const answer = client.invoke(method, message, { timeout: '5s' });
            if (answer.status !== grpc.StatusUnavailable || tries >= 100) {
                return answer;
            }
        } catch (error) {
            connected = false;
            if (tries >= 100) {
                throw error;
            }
        }
        again.add(1);
        sleep(0.1);
    }
}

export default function () {
    const view = __ENV.VIEW;
    const entry = ask('fusion.v1.ViewService/GetEntry', { view, path: '/' });
    check(entry, { 'an entry is told': (answer) => answer.status === grpc.StatusOK });
}
