package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

var sizes = []int{0, 1, 17, 125, 126, 127, 1000, 16383, 16384, 16385, 65535, 65536, 300_000, 1 << 20}

type message struct {
	opcode  byte
	payload []byte
}

// numbered is the message with this number.
func numbered(number int) message {
	size := sizes[number%len(sizes)]
	text := fmt.Sprintf("%d:", number) + strings.Repeat("0123456789", size/10+1)
	return message{byte(1 + number%2), []byte(text[:size])}
}

// client follows the lines on standard input.
func client(lines *bufio.Scanner) {
	target, err := url.Parse(os.Args[2])
	must(err)
	pem, err := os.ReadFile(os.Args[3])
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	version := versions[word(4, "1.3")]
	connection, err := tls.Dial("tcp", target.Host, &tls.Config{
		RootCAs:      roots,
		MinVersion:   version,
		MaxVersion:   version,
		CipherSuites: suites(word(5, "")),
	})
	must(err)
	reader := bufio.NewReader(connection)
	must(upgrade(connection, reader, target))
	talk := newSession(reader, connection, true)
	state := connection.ConnectionState()
	names := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}
	say(map[string]any{"opened": []string{names[state.Version], tls.CipherSuiteName(state.CipherSuite)}})
	sent := 0
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "talk":
			count, err := strconv.Atoi(words[1])
			must(err)
			must(talk.exchange(&sent, count))
			say(map[string]any{"talked": sent})
		case "close":
			must(talk.frame(0x88, append(binary.BigEndian.AppendUint16(nil, 4001), "bye"...)))
			talk.end(connection, false)
		case "restart":
			must(talk.frame(0x81, []byte("!restart")))
			talk.end(connection, true)
		default:
			must(fmt.Errorf("no command: %s", words[0]))
		}
	}
}

func upgrade(writer io.Writer, reader *bufio.Reader, target *url.URL) error {
	fmt.Fprintf(writer, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		target.RequestURI(), target.Host)
	response, err := http.ReadResponse(reader, nil)
	if err == nil && response.StatusCode != 101 {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return err
}

// exchange sends numbered messages, small ones several at a time, and compares the echoes.
func (s *session) exchange(sent *int, count int) error {
	var expected []message
	for left := count; left > 0; left-- {
		next := numbered(*sent)
		*sent++
		if err := s.send(next.opcode, next.payload); err != nil {
			return err
		}
		expected = append(expected, next)
		if len(next.payload) <= 1000 && len(expected) < 5 && left > 1 {
			continue
		}
		for _, wanted := range expected {
			opcode, payload, err := s.receive()
			if err != nil {
				return err
			}
			if opcode != wanted.opcode || !bytes.Equal(payload, wanted.payload) {
				return fmt.Errorf("message %d differs: %d bytes", *sent, len(payload))
			}
		}
		expected = nil
	}
	return nil
}

// end reads the close frame, answers it if that is asked, and reads on to close_notify: Go reports
// an end without that as an unexpected one.
func (s *session) end(connection *tls.Conn, answer bool) {
	opcode, payload, err := s.receive()
	must(err)
	if opcode != 8 || len(payload) < 2 {
		must(fmt.Errorf("opcode %d instead of a close frame", opcode))
	}
	if answer {
		must(s.frame(0x88, payload))
	}
	rest, err := io.ReadAll(s.reader)
	must(err)
	connection.Close()
	code := binary.BigEndian.Uint16(payload)
	say(map[string]any{"ended": []any{code, string(payload[2:])}, "clean": len(rest) == 0})
}
