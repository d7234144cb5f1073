;; A program: its second argument says what it does.
(component
  (import "wasi:io/error@0.2.0" (instance $errors
    (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $io-error))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $io-error (type $io-error'))
    (export "error" (type $error (eq $io-error')))
    (export "input-stream" (type $input-stream (sub resource)))
    (export "output-stream" (type $output-stream (sub resource)))
    (type $stream-error' (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $input-stream)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream)) (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input-stream))
  (alias export $streams "output-stream" (type $output-stream))

  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer 1 $input-stream (type $input-stream'))
    (export "input-stream" (type $input-stream (eq $input-stream')))
    (export "get-stdin" (func (result (own $input-stream))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $output-stream'))
    (export "output-stream" (type $output-stream (eq $output-stream')))
    (export "get-stdout" (func (result (own $output-stream))))))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (alias outer 1 $output-stream (type $output-stream'))
    (export "output-stream" (type $output-stream (eq $output-stream')))
    (export "get-stderr" (func (result (own $output-stream))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))

  (core module $memory-module
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    (func (export "allocate") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32)
      (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    (func (export "forget") (global.set $next (i32.const 65536))))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $shared))
  (alias core export $memory "allocate" (core func $allocate))
  (alias core export $memory "forget" (core func $forget))

  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $shared) (realloc $allocate)))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory $shared)))
  (core func $get-stdin (canon lower (func $stdin "get-stdin")))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $get-stderr (canon lower (func $stderr "get-stderr")))
  (core func $variables (canon lower (func $environment "get-environment")
    (memory $shared) (realloc $allocate)))
  (core func $arguments (canon lower (func $environment "get-arguments")
    (memory $shared) (realloc $allocate)))
  (core func $exit (canon lower (func $exit "exit")))
  (core instance $host
    (export "memory" (memory $shared))
    (export "forget" (func $forget))
    (export "read" (func $read))
    (export "write" (func $write))
    (export "stdin" (func $get-stdin))
    (export "stdout" (func $get-stdout))
    (export "stderr" (func $get-stderr))
    (export "variables" (func $variables))
    (export "arguments" (func $arguments))
    (export "exit" (func $exit)))

  (core module $program-module
    (import "host" "memory" (memory 2))
    (import "host" "forget" (func $forget))
    (import "host" "read" (func $read (param i32 i64 i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "stdin" (func $stdin (result i32)))
    (import "host" "stdout" (func $stdout (result i32)))
    (import "host" "stderr" (func $stderr (result i32)))
    (import "host" "variables" (func $variables (param i32)))
    (import "host" "arguments" (func $arguments (param i32)))
    (import "host" "exit" (func $exit (param i32)))

    (data (i32.const 256) "complaint\n=")

    (func $cat
      (local $in i32) (local $out i32)
      (local.set $in (call $stdin))
      (local.set $out (call $stdout))
      (block $end
        (loop $more
          (call $forget)
          (call $read (local.get $in) (i64.const 4096) (i32.const 0))
          (br_if $end (i32.load8_u (i32.const 0)))
          (call $write (local.get $out) (i32.load (i32.const 4)) (i32.load (i32.const 8)) (i32.const 0))
          (if (i32.load8_u (i32.const 0)) (then unreachable))
          (br $more))))

    (func $print-variables
      (local $at i32) (local $left i32) (local $out i32)
      (local.set $out (call $stdout))
      (call $variables (i32.const 0))
      (local.set $at (i32.load (i32.const 0)))
      (local.set $left (i32.load (i32.const 4)))
      (block $end
        (loop $more
          (br_if $end (i32.eqz (local.get $left)))
          (call $write (local.get $out) (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))
            (i32.const 0))
          (call $write (local.get $out) (i32.const 266) (i32.const 1) (i32.const 0))
          (call $write (local.get $out) (i32.load offset=8 (local.get $at))
            (i32.load offset=12 (local.get $at)) (i32.const 0))
          (call $write (local.get $out) (i32.const 265) (i32.const 1) (i32.const 0))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br $more))))

    (func (export "run") (result i32)
      (local $letter i32)
      (call $arguments (i32.const 0))
      (local.set $letter (i32.load8_u (i32.load offset=8 (i32.load (i32.const 0)))))
      ;; cat: copies its input
      (if (i32.eq (local.get $letter) (i32.const 0x63)) (then (call $cat) (return (i32.const 0))))
      ;; variables: prints them
      (if (i32.eq (local.get $letter) (i32.const 0x76)) (then
        (call $print-variables) (return (i32.const 0))))
      ;; grumble: complains on standard error, and fails
      (if (i32.eq (local.get $letter) (i32.const 0x67)) (then
        (call $write (call $stderr) (i32.const 256) (i32.const 10) (i32.const 0))
        (return (i32.const 1))))
      ;; exit: says that all is well, from within
      (if (i32.eq (local.get $letter) (i32.const 0x65)) (then (call $exit (i32.const 0))))
      ;; loop
      (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then (loop $again (br $again))))
      ;; memory: eats it all
      (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then
        (loop $more
          (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
          (br $more))))
      unreachable))
  (core instance $program (instantiate $program-module (with "host" (instance $host))))

  (func $run (result (result)) (canon lift (core func $program "run")))
  (instance $runner (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $runner)))
