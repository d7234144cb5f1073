  ;; What the tests' guest does: the first letter of the path says it. This is the second half of the
  ;; component; the first, with the imports that both share, is that of examples/wasm-hello/hello.wat.

  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $output-stream'))
    (export "output-stream" (type $output-stream (eq $output-stream')))
    (export "get-stdout" (func (result (own $output-stream))))))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))

  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (core func $block (canon lower (func $poll "[method]pollable.block")))

  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $pollable'))
    (export "pollable" (type $pollable (eq $pollable')))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))

  (core instance $more-host
    (export "get-stdout" (func $get-stdout))
    (export "block" (func $block))
    (export "subscribe" (func $subscribe)))

  (core module $program-module
    (import "host" "memory" (memory 2))
    (import "host" "fields.from-list" (func $fields.from-list (param i32 i32 i32)))
    (import "host" "request.path" (func $request.path (param i32 i32)))
    (import "host" "request.consume" (func $request.consume (param i32 i32)))
    (import "host" "incoming-body.stream" (func $incoming-body.stream (param i32 i32)))
    (import "host" "stream.read" (func $stream.read (param i32 i64 i32)))
    (import "host" "response.new" (func $response.new (param i32) (result i32)))
    (import "host" "response.body" (func $response.body (param i32 i32)))
    (import "host" "outgoing-body.write" (func $outgoing-body.write (param i32 i32)))
    (import "host" "outgoing-body.finish" (func $outgoing-body.finish (param i32 i32 i32 i32)))
    (import "host" "stream.write" (func $stream.write (param i32 i32 i32 i32)))
    (import "host" "stream.drop" (func $stream.drop (param i32)))
    (import "host" "answer" (func $answer (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "more" "get-stdout" (func $get-stdout (result i32)))
    (import "more" "block" (func $block (param i32)))
    (import "more" "subscribe" (func $subscribe (param i64) (result i32)))

    (data (i32.const 256) "printed line\n")
    (data (i32.const 512) "some words")

    (global $request (mut i32) (i32.const 0))
    (global $answer-to (mut i32) (i32.const 0))
    (global $body (mut i32) (i32.const 0))
    (global $out (mut i32) (i32.const 0))

    (func $given (result i32)
      (if (i32.load8_u (i32.const 0)) (then unreachable))
      (i32.load (i32.const 4)))

    (func $say (param $address i32) (param $length i32)
      (call $stream.write (global.get $out) (local.get $address) (local.get $length) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then unreachable)))

    (func $print (param $to i32)
      (call $stream.write (local.get $to) (i32.const 256) (i32.const 13) (i32.const 0)))

    (func $sleep (param $nanoseconds i64)
      (call $block (call $subscribe (local.get $nanoseconds))))

    (func $open
      (local $response i32)
      (call $fields.from-list (i32.const 0) (i32.const 0) (i32.const 0))
      (local.set $response (call $response.new (call $given)))
      (call $response.body (local.get $response) (i32.const 0))
      (global.set $body (call $given))
      (call $outgoing-body.write (global.get $body) (i32.const 0))
      (global.set $out (call $given))
      (call $answer (global.get $answer-to) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

    (func $close
      (call $stream.drop (global.get $out))
      (call $outgoing-body.finish (global.get $body) (i32.const 0) (i32.const 0) (i32.const 0)))

    (func $echo
      (local $in i32)
      (call $open)
      (call $request.consume (global.get $request) (i32.const 0))
      (call $incoming-body.stream (call $given) (i32.const 0))
      (local.set $in (call $given))
      (block $end
        (loop $more
          (call $stream.read (local.get $in) (i64.const 4096) (i32.const 0))
          (br_if $end (i32.load8_u (i32.const 0)))
          (call $say (i32.load (i32.const 4)) (i32.load (i32.const 8)))
          (br $more)))
      (call $close))

    (func $spin (loop $again (br $again)))

    (func $eat
      (loop $more
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))

    (func $trap unreachable)

    (func $print-on (local $to i32)
      (local.set $to (call $get-stdout))
      (loop $more (call $print (local.get $to)) (br $more)))

    (func $stream-on
      (call $open)
      (loop $more (call $say (i32.const 65536) (i32.const 4096)) (br $more)))

    (func $wait (call $sleep (i64.const 3600000000000)))

    (func $words (call $open) (call $say (i32.const 512) (i32.const 10)))

    (func (export "handle") (param $request i32) (param $answer-to i32)
      (local $letter i32)
      (global.set $request (local.get $request))
      (global.set $answer-to (local.get $answer-to))
      (call $request.path (local.get $request) (i32.const 0))
      (local.set $letter (i32.load8_u offset=1 (i32.load (i32.const 4))))
      ;; /echo
      (if (i32.eq (local.get $letter) (i32.const 0x65)) (then (call $echo) return))
      ;; /loop
      (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then (call $spin) return))
      ;; /memory
      (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then (call $eat) return))
      ;; /trap
      (if (i32.eq (local.get $letter) (i32.const 0x74)) (then (call $trap) return))
      ;; /print: without end
      (if (i32.eq (local.get $letter) (i32.const 0x70)) (then (call $print-on) return))
      ;; /stream: without end
      (if (i32.eq (local.get $letter) (i32.const 0x73)) (then (call $stream-on) return))
      ;; /wait: for an hour, before it answers
      (if (i32.eq (local.get $letter) (i32.const 0x77)) (then (call $wait) return))
      ;; /half: some words, then a trap
      (if (i32.eq (local.get $letter) (i32.const 0x68)) (then
        (call $words) (call $sleep (i64.const 1000000)) (call $trap) return))
      ;; /idle: some words, then it waits for an hour
      (if (i32.eq (local.get $letter) (i32.const 0x69)) (then (call $words) (call $wait) return))
      ;; /nothing: returns without an answer
      (if (i32.eq (local.get $letter) (i32.const 0x6e)) (then return))
      ;; /refuse: answers with an error
      (if (i32.eq (local.get $letter) (i32.const 0x72)) (then
        (call $answer (local.get $answer-to) (i32.const 1) (i32.const 35)
          (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        return))
      ;; /after: answers, and prints a line after that
      (if (i32.eq (local.get $letter) (i32.const 0x61)) (then
        (call $words) (call $close) (call $sleep (i64.const 20000000)) (call $print (call $get-stdout)) return))
      unreachable))
  (core instance $program (instantiate $program-module
    (with "host" (instance $host)) (with "more" (instance $more-host))))

  (func $handle (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $program "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
