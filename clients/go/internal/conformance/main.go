// Command conformance asks the cases of a file and prints a line of JSON about each question:
//
//	conformance ADDRESS CASES.json [API_KEY]
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"featsvc"
)

// testCase is one call of the case file.
type testCase struct {
	Name      string     `json:"name"`
	RPC       string     `json:"rpc"`
	Questions []question `json:"questions"`
	APIKey    string     `json:"api_key"`
	TimeoutS  float64    `json:"timeout_s"`
	// Paced is set where each question comes only when the answer to the one before it has been seen.
	Paced bool `json:"paced"`
}

// question is one request, as protobuf JSON.
type question struct {
	ID      string          `json:"id"`
	Request json.RawMessage `json:"request"`
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: conformance ADDRESS CASES.json [API_KEY]")
		os.Exit(2)
	}
	key := featsvc.DefaultKey
	if len(os.Args) > 3 {
		key = os.Args[3]
	}
	if err := run(os.Args[1], os.Args[2], key); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(address, path, key string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var cases []testCase
	if err := json.Unmarshal(content, &cases); err != nil {
		return err
	}
	for _, each := range cases {
		lines, err := asked(address, key, each)
		if err != nil {
			return fmt.Errorf("%s: %w", each.Name, err)
		}
		for _, line := range lines {
			if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// refused is the line about an error; false where the error is not of a call, but of this program.
func refused(name string, err error) (map[string]any, bool) {
	var said *featsvc.Error
	if !errors.As(err, &said) {
		return nil, false
	}
	fields := []string{}
	for _, each := range said.Violations {
		fields = append(fields, each.Field)
	}
	return map[string]any{
		"name": name, "code": codeName(said.Code), "fields": fields, "retry_after": said.RetryAfter > 0,
	}, true
}

// answered is the line about an answer.
func answered(name, model string, arrays map[string]sample) map[string]any {
	return map[string]any{"name": name, "code": "OK", "model": model, "arrays": arrays}
}
