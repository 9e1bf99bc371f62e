package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
)

// session is RFC 6455 over any connection, at either end.
type session struct {
	reader   *bufio.Reader
	writer   io.Writer
	isClient bool
	random   *rand.Rand
}

func newSession(reader *bufio.Reader, writer io.Writer, isClient bool) *session {
	return &session{reader, writer, isClient, rand.New(rand.NewSource(5))}
}

// frame writes one frame, in several writes: each is a TLS record.
func (s *session) frame(first byte, payload []byte) error {
	head := []byte{first}
	mask := byte(0)
	if s.isClient {
		mask = 0x80
	}
	switch size := len(payload); {
	case size < 126:
		head = append(head, mask|byte(size))
	case size < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, mask|126), uint16(size))
	default:
		head = binary.BigEndian.AppendUint64(append(head, mask|127), uint64(size))
	}
	if s.isClient {
		key := [4]byte{1, 2, 3, 4}
		head = append(head, key[:]...)
		masked := make([]byte, len(payload))
		for at, value := range payload {
			masked[at] = value ^ key[at%4]
		}
		payload = masked
	}
	whole := append(head, payload...)
	for len(whole) > 0 {
		size := 1 + s.random.Intn(len(whole))
		if _, err := s.writer.Write(whole[:size]); err != nil {
			return err
		}
		whole = whole[size:]
	}
	return nil
}

// send writes a message in one frame or two.
func (s *session) send(opcode byte, payload []byte) error {
	if s.random.Intn(2) == 0 {
		middle := s.random.Intn(len(payload) + 1)
		if err := s.frame(opcode, payload[:middle]); err != nil {
			return err
		}
		return s.frame(0x80, payload[middle:])
	}
	return s.frame(0x80|opcode, payload)
}

// receive reads the next message or close frame.
func (s *session) receive() (opcode byte, whole []byte, err error) {
	for {
		var head [2]byte
		if _, err = io.ReadFull(s.reader, head[:]); err != nil {
			return
		}
		size := uint64(head[1] & 127)
		if size > 125 {
			var long [8]byte
			at := 6
			if size == 127 {
				at = 0
			}
			if _, err = io.ReadFull(s.reader, long[at:]); err != nil {
				return
			}
			size = binary.BigEndian.Uint64(long[:])
		}
		if size > 64<<20 {
			return 0, nil, fmt.Errorf("a frame of %d bytes", size)
		}
		var key [4]byte
		if head[1]&128 != 0 {
			if _, err = io.ReadFull(s.reader, key[:]); err != nil {
				return
			}
		}
		payload := make([]byte, size)
		if _, err = io.ReadFull(s.reader, payload); err != nil {
			return
		}
		for at := range payload {
			payload[at] ^= key[at%4]
		}
		switch kind := head[0] & 15; kind {
		case 8:
			return 8, payload, nil
		case 9:
			if err = s.frame(0x8a, payload); err != nil {
				return
			}
		case 10:
		default:
			if kind != 0 {
				opcode = kind
			}
			whole = append(whole, payload...)
			if head[0]&128 != 0 {
				return
			}
		}
	}
}
