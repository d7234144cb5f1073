;; A WebAssembly component that answers HTTP requests, written by hand: it greets, and says back what it
;; was sent. Nobody should have to write these by hand – compilers do it from ten lines of Rust, Go, Python or
;; JavaScript – but this one needs no compiler.
;;
;;     xebec deploy examples/wasm-hello
;;     xebec invoke hello -d 'ahoy'
;;
;; First what it imports: those parts of wasi:http it uses, with all types that they mention. Then the
;; program. Then what it exports: wasi:http/incoming-handler.

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

  (import "wasi:http/types@0.2.0" (instance $http
    (alias outer 1 $input-stream (type $input-stream'))
    (export "input-stream" (type $input-stream (eq $input-stream')))
    (alias outer 1 $output-stream (type $output-stream'))
    (export "output-stream" (type $output-stream (eq $output-stream')))

    (type $dns-error' (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns-error (eq $dns-error')))
    (type $tls-alert' (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls-alert (eq $tls-alert')))
    (type $field-size' (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $field-size (eq $field-size')))
    (type $error-code' (variant
      (case "DNS-timeout")
      (case "DNS-error" $dns-error)
      (case "destination-not-found")
      (case "destination-unavailable")
      (case "destination-IP-prohibited")
      (case "destination-IP-unroutable")
      (case "connection-refused")
      (case "connection-terminated")
      (case "connection-timeout")
      (case "connection-read-timeout")
      (case "connection-write-timeout")
      (case "connection-limit-reached")
      (case "TLS-protocol-error")
      (case "TLS-certificate-error")
      (case "TLS-alert-received" $tls-alert)
      (case "HTTP-request-denied")
      (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $field-size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $field-size)
      (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field-size)
      (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $field-size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed")
      (case "HTTP-protocol-error")
      (case "loop-detected")
      (case "configuration-error")
      (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $error-code')))
    (type $header-error' (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $header-error (eq $header-error')))

    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $incoming-request (sub resource)))
    (export "incoming-body" (type $incoming-body (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "outgoing-body" (type $outgoing-body (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))

    (export "[static]fields.from-list" (func
      (param "entries" (list (tuple string (list u8))))
      (result (result (own $fields) (error $header-error)))))
    (export "[method]incoming-request.path-with-query" (func
      (param "self" (borrow $incoming-request)) (result (option string))))
    (export "[method]incoming-request.consume" (func
      (param "self" (borrow $incoming-request)) (result (result (own $incoming-body)))))
    (export "[method]incoming-body.stream" (func
      (param "self" (borrow $incoming-body)) (result (result (own $input-stream)))))
    (export "[constructor]outgoing-response" (func
      (param "headers" (own $fields)) (result (own $outgoing-response))))
    (export "[method]outgoing-response.body" (func
      (param "self" (borrow $outgoing-response)) (result (result (own $outgoing-body)))))
    (export "[method]outgoing-body.write" (func
      (param "self" (borrow $outgoing-body)) (result (result (own $output-stream)))))
    (export "[static]outgoing-body.finish" (func
      (param "this" (own $outgoing-body)) (param "trailers" (option (own $fields)))
      (result (result (error $error-code)))))
    (export "[static]response-outparam.set" (func
      (param "param" (own $response-outparam))
      (param "response" (result (own $outgoing-response) (error $error-code)))))))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "response-outparam" (type $response-outparam))

  ;; The memory that the program and the host share. What the host passes in (one path, or one piece of
  ;; the body at a time) always goes to the second page.
  (core module $memory-module
    (memory (export "memory") 2)
    (func (export "allocate") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32)
      (result i32)
      (if (i32.gt_u (local.get $size) (i32.const 65536)) (then unreachable))
      (i32.const 65536)))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $shared))
  (alias core export $memory "allocate" (core func $allocate))

  ;; The imports, as functions of numbers and addresses.
  (core func $fields.from-list (canon lower (func $http "[static]fields.from-list") (memory $shared)))
  (core func $request.path (canon lower (func $http "[method]incoming-request.path-with-query")
    (memory $shared) (realloc $allocate)))
  (core func $request.consume (canon lower (func $http "[method]incoming-request.consume") (memory $shared)))
  (core func $incoming-body.stream (canon lower (func $http "[method]incoming-body.stream")
    (memory $shared)))
  (core func $stream.read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $shared) (realloc $allocate)))
  (core func $response.new (canon lower (func $http "[constructor]outgoing-response")))
  (core func $response.body (canon lower (func $http "[method]outgoing-response.body") (memory $shared)))
  (core func $outgoing-body.write (canon lower (func $http "[method]outgoing-body.write")
    (memory $shared)))
  (core func $outgoing-body.finish (canon lower (func $http "[static]outgoing-body.finish")
    (memory $shared) (realloc $allocate)))
  (core func $stream.write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory $shared)))
  (core func $stream.drop (canon resource.drop $output-stream))
  (core func $answer (canon lower (func $http "[static]response-outparam.set") (memory $shared)))
  (core instance $host
    (export "memory" (memory $shared))
    (export "fields.from-list" (func $fields.from-list))
    (export "request.path" (func $request.path))
    (export "request.consume" (func $request.consume))
    (export "incoming-body.stream" (func $incoming-body.stream))
    (export "stream.read" (func $stream.read))
    (export "response.new" (func $response.new))
    (export "response.body" (func $response.body))
    (export "outgoing-body.write" (func $outgoing-body.write))
    (export "outgoing-body.finish" (func $outgoing-body.finish))
    (export "stream.write" (func $stream.write))
    (export "stream.drop" (func $stream.drop))
    (export "answer" (func $answer)))

  ;; The program.
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

    ;; Results of the host arrive at 0: first whether it worked (0: it did), then, at 4, what it gives.
    (data (i32.const 256) "content-typetext/plain; charset=utf-8")
    ;; One header: address and length of its name, and of its value.
    (data (i32.const 320) "\00\01\00\00\0c\00\00\00\0c\01\00\00\19\00\00\00")
    (data (i32.const 512) "Hello from WebAssembly!\nYou called ")
    (data (i32.const 560) "\nand sent: ")

    (func $given (result i32)
      (if (i32.load8_u (i32.const 0)) (then unreachable))
      (i32.load (i32.const 4)))

    ;; Writes bytes out, no more than 4096 at a time: that is the most wasi:io takes.
    (func $say (param $to i32) (param $address i32) (param $length i32)
      (local $piece i32)
      (loop $more
        (local.set $piece (select (local.get $length) (i32.const 4096)
          (i32.lt_u (local.get $length) (i32.const 4096))))
        (call $stream.write (local.get $to) (local.get $address) (local.get $piece) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then unreachable))
        (local.set $address (i32.add (local.get $address) (local.get $piece)))
        (local.set $length (i32.sub (local.get $length) (local.get $piece)))
        (br_if $more (local.get $length))))

    (func (export "handle") (param $request i32) (param $answer-to i32)
      (local $response i32) (local $body i32) (local $out i32) (local $in i32)
      ;; The answer's head goes first: 200, with its type.
      (call $fields.from-list (i32.const 320) (i32.const 1) (i32.const 0))
      (local.set $response (call $response.new (call $given)))
      (call $response.body (local.get $response) (i32.const 0))
      (local.set $body (call $given))
      (call $outgoing-body.write (local.get $body) (i32.const 0))
      (local.set $out (call $given))
      (call $answer (local.get $answer-to) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))

      (call $say (local.get $out) (i32.const 512) (i32.const 35))
      (call $request.path (local.get $request) (i32.const 0))
      (if (i32.load8_u (i32.const 0))
        (then (call $say (local.get $out) (i32.load (i32.const 4)) (i32.load (i32.const 8)))))
      (call $say (local.get $out) (i32.const 560) (i32.const 11))

      ;; Its body, piece by piece, as it comes.
      (call $request.consume (local.get $request) (i32.const 0))
      (call $incoming-body.stream (call $given) (i32.const 0))
      (local.set $in (call $given))
      (block $end
        (loop $more
          (call $stream.read (local.get $in) (i64.const 4096) (i32.const 0))
          (br_if $end (i32.load8_u (i32.const 0)))
          (call $say (local.get $out) (i32.load (i32.const 4)) (i32.load (i32.const 8)))
          (br $more)))

      (call $stream.drop (local.get $out))
      (call $outgoing-body.finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $program (instantiate $program-module (with "host" (instance $host))))

  (func $handle (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $program "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
