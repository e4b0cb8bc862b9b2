// Gomega on the JSON listing of the made-up sandbox. Run by run-gomega.sh.
package compared

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"
)

const base = "http://127.0.0.1:9802"

type Process struct {
	PID      int      `json:"pid"`
	Status   string   `json:"status"`
	ExitCode *int     `json:"exit_code"`
	Args     []string `json:"args"`
}

func scenario(t *testing.T, name string) *WithT {
	t.Helper()
	resp, err := http.Post(base+"/_scenario/"+name, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	began := time.Now()
	t.Cleanup(func() { t.Logf("TIME %s: %.2f s, failed=%v", t.Name(), time.Since(began).Seconds(), t.Failed()) })
	return NewWithT(t)
}

// The user's helpers.
func processes() ([]Process, error) {
	resp, err := http.Get(base + "/api/v1/processes")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /api/v1/processes: %s", resp.Status)
	}
	var list struct{ Processes []Process }
	err = json.NewDecoder(resp.Body).Decode(&list)
	return list.Processes, err
}

func (p Process) state() string {
	if p.ExitCode != nil {
		return fmt.Sprintf("%s %d", p.Status, *p.ExitCode)
	}
	return p.Status
}

// The state of the process whose command line has that text.
func state(text string) (string, error) {
	ps, err := processes()
	if err != nil {
		return "", err
	}
	for _, p := range ps {
		if strings.Contains(strings.Join(p.Args, " "), text) {
			return p.state(), nil
		}
	}
	return "", fmt.Errorf("no process %s", text)
}

// All command lines, and the states of all processes that have that text.
func list() (lines []string, err error) {
	ps, err := processes()
	for _, p := range ps {
		lines = append(lines, "python "+strings.Join(p.Args, " "))
	}
	return lines, err
}

func states(text string) (all []string, err error) {
	ps, err := processes()
	for _, p := range ps {
		if strings.Contains(strings.Join(p.Args, " "), text) {
			all = append(all, p.state())
		}
	}
	return all, err
}

func TestOOM(t *testing.T) {
	g := scenario(t, "1-oom")
	g.Eventually(state).WithArguments("train.py").WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

// The same by somebody who knows StopTrying and foresees the OOM.
func TestOOMStopTrying(t *testing.T) {
	g := scenario(t, "1-oom")
	g.Eventually(func() (string, error) {
		s, err := state("train.py")
		if s == "oom_killed" {
			return s, StopTrying("train.py was OOM-killed")
		}
		return s, err
	}).WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

func TestExit3(t *testing.T) {
	g := scenario(t, "2-exit3")
	g.Eventually(state).WithArguments("train.py").WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

func TestTypo(t *testing.T) {
	g := scenario(t, "3-typo")
	g.Eventually(state).WithArguments("trian.py").WithTimeout(10 * time.Second).Should(Equal("running"))
}

func TestTypoInList(t *testing.T) {
	g := scenario(t, "3-typo")
	g.Eventually(list).WithTimeout(10 * time.Second).Should(ContainElement(ContainSubstring("trian.py")))
}

func TestRunning(t *testing.T) {
	g := scenario(t, "4-running")
	g.Eventually(state).WithArguments("train.py").WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

func TestEnded(t *testing.T) {
	g := scenario(t, "5-ended")
	g.Eventually(state).WithArguments("server.py").WithTimeout(10 * time.Second).Should(Equal("running"))
}

func TestVanished(t *testing.T) {
	g := scenario(t, "6-vanished")
	g.Eventually(state).WithArguments("train.py").WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

func TestSeveral(t *testing.T) {
	g := scenario(t, "7-several")
	g.Eventually(state).WithArguments("train.py").WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

func TestSeveralAskedForOne(t *testing.T) {
	g := scenario(t, "7-several")
	g.Eventually(states).WithArguments("train.py").WithTimeout(10 * time.Second).Should(ConsistOf("exited 0"))
}

func Test502(t *testing.T) {
	g := scenario(t, "8-502")
	g.Eventually(state).WithArguments("train.py").WithTimeout(10 * time.Second).Should(Equal("exited 0"))
}

// Looked at once the OOM and the restart are over.
func TestRestartAfterwards(t *testing.T) {
	g := scenario(t, "9-restart")
	time.Sleep(1200 * time.Millisecond) // the rest of the test
	g.Expect(state("web.py")).To(Equal("running"))
	g.Consistently(state).WithArguments("web.py").WithTimeout(2 * time.Second).Should(Equal("running"))
}

// Watched from the start: catches it while it is down.
func TestRestartWatched(t *testing.T) {
	g := scenario(t, "9-restart")
	g.Consistently(state).WithArguments("web.py").WithTimeout(2 * time.Second).Should(Equal("running"))
}

func TestSoft(t *testing.T) {
	g := scenario(t, "10-soft")
	g.Expect(state("api.py")).To(Equal("running"))
	g.Expect(state("worker.py")).To(Equal("running"))
	g.Expect(state("train.py")).To(Equal("exited 0"))
}

// All three at once: one gstruct matcher on a map.
func TestSoftGstruct(t *testing.T) {
	g := scenario(t, "10-soft")
	found := map[string]string{}
	for _, name := range []string{"api.py", "worker.py", "train.py"} {
		found[name], _ = state(name)
	}
	g.Expect(found).To(gstruct.MatchAllKeys(gstruct.Keys{
		"api.py":    Equal("running"),
		"worker.py": Equal("running"),
		"train.py":  Equal("exited 0"),
	}))
}
