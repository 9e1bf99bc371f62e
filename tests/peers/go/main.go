// A wss client and an echo server on Go's crypto/tls, with the standard library alone; see ../README.md.
//
//	peers client wss://127.0.0.1:PORT/path ca.pem [1.2|1.3] [cipher suite]
//	peers server server.crt server.key [1.2|1.3]
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
)

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// say prints a line of JSON.
func say(value any) {
	line, err := json.Marshal(value)
	must(err)
	fmt.Println(string(line))
}

// must ends the program on an error.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// word is an argument, or a default.
func word(at int, otherwise string) string {
	if at < len(os.Args) {
		return os.Args[at]
	}
	return otherwise
}

// suites finds a cipher suite by its name.
func suites(name string) []uint16 {
	for _, suite := range tls.CipherSuites() {
		if suite.Name == name {
			return []uint16{suite.ID}
		}
	}
	return nil
}

func main() {
	switch word(1, "") {
	case "client":
		client(bufio.NewScanner(os.Stdin))
	case "server":
		server()
	default:
		must(fmt.Errorf("usage: peers client|server"))
	}
}
