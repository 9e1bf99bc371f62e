package main

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
)

// server sends messages back, and closes with 1012 on `!restart`.
func server() {
	pair, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	must(err)
	version := versions[word(4, "1.3")]
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   version,
		MaxVersion:   version,
		NextProtos:   []string{"http/1.1"},
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	must(err)
	say(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port})
	must(http.Serve(listener, http.HandlerFunc(serve)))
}

func serve(writer http.ResponseWriter, request *http.Request) {
	key := request.Header.Get("Sec-WebSocket-Key")
	if key == "" {
		fmt.Fprintln(writer, "hello")
		return
	}
	digest := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	connection, buffered, err := writer.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(digest[:]))
	talk := newSession(buffered.Reader, connection, false)
	closing := false
	for {
		opcode, payload, err := talk.receive()
		switch {
		case err != nil:
			return
		case opcode == 8:
			if !closing {
				talk.frame(0x88, payload)
			}
			return
		case string(payload) == "!restart":
			closing = true
			talk.frame(0x88, append(binary.BigEndian.AppendUint16(nil, 1012), "restarting"...))
		default:
			if talk.send(opcode, payload) != nil {
				return
			}
		}
	}
}
