// A peer to be measured beside: a web server as Go's standard library has it, or its reverse proxy.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// hello answers as the function does.
func hello(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, "hello\n")
}

// proxy passes everything on, and keeps as many connections as there may be callers: the default of two
// for each host would measure the making of connections.
func proxy(to string) (http.Handler, error) {
	target, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 1024
	handler := httputil.NewSingleHostReverseProxy(target)
	handler.Transport = transport
	return handler, nil
}

func main() {
	var handler http.Handler = http.HandlerFunc(hello)
	if len(os.Args) > 1 {
		var err error
		if handler, err = proxy(os.Args[1]); err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, handler))
}
