// Gradio answers a page's events on a stream that its server ends as soon as no event waits. An event sent in that very
// moment is believed to be answered on the stream that is ending, nothing reads its answer, and the click seems lost.
// Here the end of the stream is passed on only when nothing that was sent is unanswered; until then the page reads on.
(() => {
    const request = window.fetch.bind(window);
    const unanswered = new Set(), early = new Set(); // ids of events; `early` were answered before they had one here
    let joining = 0;

    const address = (input) => new URL(typeof input === 'string' ? input : input.url ?? String(input), location.href);

    const joined = async (...call) => {
        joining += 1;
        try {
            const response = await request(...call);
            const {event_id: id} = await response.clone().json().catch(() => ({}));
            if (id && !early.delete(id)) unanswered.add(id);
            return response;
        } finally {
            joining -= 1;
        }
    };

    const answered = (id) => {
        if (!unanswered.delete(id)) early.add(id);
    };

    const messages = async function* (body) {
        const reader = body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = '';
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
            const whole = (rest + part.value).split('\n\n');
            rest = whole.pop();
            yield* whole;
        }
    };

    const said = (message) => {
        try {
            return JSON.parse(message.replace(/^data:/, ''));
        } catch {
            return {};
        }
    };

    const allAnswers = async function* (first, again) {
        for (let response = first; response?.ok; ) {
            let next = null;
            for await (const message of messages(response.body)) {
                const {msg, event_id: id} = said(message);
                if (msg === 'process_completed') answered(id);
                if (msg === 'close_stream' && (joining || unanswered.size)) {
                    next = await again();
                    break;
                }
                yield message;
            }
            response = next;
        }
    };

    const listening = async (input, options) => {
        const call = new Request(input, options), again = () => request(call.clone());
        const response = await again();
        if (!response.ok) return response;
        const answers = allAnswers(response, again), encoder = new TextEncoder();
        const body = new ReadableStream({
            async pull(controller) {
                const {done, value} = await answers.next();
                if (done) controller.close();
                else controller.enqueue(encoder.encode(`${value}\n\n`));
            },
        });
        return new Response(body, {status: response.status, headers: response.headers});
    };

    window.fetch = async (...call) => {
        const {pathname, origin} = address(call[0]);
        if (origin === location.origin && pathname.endsWith('/queue/join')) return joined(...call);
        if (origin === location.origin && pathname.endsWith('/queue/data')) return listening(...call);
        return request(...call);
    };
})();
