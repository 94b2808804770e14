"""What can go wrong with one request to the simulator, on demand.

A client that was only ever tried on answers that arrive whole and in order loses text, waits for ever or
says something incomprehensible on the day when one does not. Each fault here is one of those days, made to
happen on a real connection, where a mock of the transport would leave out the cutting, resetting and framing.

The same words are fields of `Fault`, and, joined by `~`, a spec for the command line or a model's id:

    Fault(cut=3, how="rst")     gemini-nb simulator --fault cut=3~how=rst     gemini-3.8-flash~cut=3~how=rst

Before or instead of the answer
    reset                       the connection is reset, nothing having been sent
    close                       it is closed properly, nothing having been sent
    wait=S                      nothing is sent for S seconds (or `wait=forever`), not even the status
    503 (status=503)            this HTTP status, with an error body
    retry-after=S               Retry-After in seconds, for a status
    retry-date=S                Retry-After as an HTTP date S seconds from now, for a status
    retry-info=S                google.rpc.RetryInfo in the error body or error event
    quota=N                     google.rpc.QuotaFailure of that limit; N is 10 if left out, 0 never ends
    quota-per=SPAN              ... per minute or day
    body=KIND                   the status' body: object, array (of one object), bare (its "error" unwrapped),
                                html or empty
    blocked=REASON              the prompt is blocked, for SAFETY if left out
    rated=CATEGORY              ... by this category, such as HARASSMENT; a finish=SAFETY may name one, too
What the answer says; an event is one chunk of it, and N may be 0
    empty=KIND                  STOP and no text: content missing, object ({}), role (no parts) or parts ([])
    finish=REASON               this finishReason, such as SAFETY, RECITATION, MAX_TOKENS,
                                MALFORMED_FUNCTION_CALL or UNEXPECTED_TOOL_CALL (these two lose the calls)
    finish-after=N              ... after N events
    no-finish                   a proper end without finishReason
    finish-twice                a second, empty event with finishReason after the last
    continuation=N              CONTINUATION after N events, with the continuationToken to go on from
    checkpoint=N                the N-th event carries a continuationToken, and the answer goes on
How it arrives
    cut=N                       the answer breaks off after N events
    cut-bytes=N                 ... after N bytes of the body
    inside=KIND                 a cut goes on into the next event: to half a character, to half its json,
                                or to half its JSON as an event (the blank line is there)
    how=END                     the end: fin (closed, the default of a cut), rst (reset), end (proper, the
                                default of an error event) or length (closed, Content-Length promised more)
    error=CODE                  an error event in a 200 answer
    error-after=N               ... after N events, 0 if left out
    error-form=FORM             ... as event, raw (lines of JSON without `data:`), array (of one such) or
                                bare (an event with its "error" unwrapped)
    stall=N                     silence after N events
    stall-for=S                 ... of S seconds, otherwise until the client leaves
    drip=N                      N bytes at a time, 1 if left out
    drip-pause=S                ... with S seconds between them, 0.001 if left out
    sse=WORDS                   odd SSE, joined by commas: comments, lf, cr (line ends), nospace (`data:{`),
                                fields (event:, id:, retry:), bom, done (`[DONE]` last), multiline (data)
    gzip                        compressed, whether the client asked for it or not
Only in a spec
    times=N                     for the first N requests (with that model id and key), or `times=all`;
                                1 if left out
    tag=WORD                    means nothing: it gives a model id a count of its own
    none                        no fault, to keep the order on a command line

What fits together can be combined, as in `503~retry-after=2~body=html` or `checkpoint=3~cut=5~how=rst`. A
position beyond the end of the answer means its end, except that what has ended is not continued. Seconds are
real ones, whatever the simulator's pace. A response of generateContent arrives as one event, while what the
answer says is counted in the events that the stream would have had.
"""
