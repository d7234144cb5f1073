package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
)

// handle is called for every request.
func handle(w http.ResponseWriter, r *http.Request) {
	input := struct {
		Name string `json:"name"`
	}{Name: "World"}
	if r.ContentLength != 0 {
		if err := json.NewDecoder(r.Body).Decode(&input); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	fmt.Fprintf(w, "Hello, %s!\n", input.Name)
}

func main() {
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(handle)))
}
