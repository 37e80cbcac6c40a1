// A plugin of the Node Resource Interface that does what a script says: a JSON file that it reads anew for each event.
// It is built against the oldest and the newest version that the daemon has to get on with.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// script says what to do. All of it may be absent.
type script struct {
	// Events to subscribe for, as ParseEventMask takes them; empty: all that the plugin knows.
	Events []string
	// By container name: an adjustment, as JSON of the message.
	Adjust map[string]json.RawMessage
	// By event: updates of containers to answer with, where the event has any.
	Updates map[string][]json.RawMessage
	// By event: updates to ask for meanwhile, out of turn.
	Ask map[string][]json.RawMessage
	// By event: the error to answer with.
	Refuse map[string]string
	// Events that get no answer for so long.
	DelayMs map[string]int
	// Events at which the process ends.
	Exit []string
	// Events at which nonsense is written to the socket. Needs to be started by the daemon.
	Garbage []string
	// Why adjusted containers are refused; empty: they are not.
	Invalid string
}

type line struct {
	Event     string          `json:"event"`
	Pod       string          `json:"pod,omitempty"`
	Container string          `json:"container,omitempty"`
	Message   json.RawMessage `json:"message,omitempty"`
	Pods      []string        `json:"pods,omitempty"`
	Names     []string        `json:"containers,omitempty"`
	Config    string          `json:"config,omitempty"`
	Runtime   string          `json:"runtime,omitempty"`
	Failed    []string        `json:"failed,omitempty"`
	Error     string          `json:"error,omitempty"`
}

type plugin struct {
	stub       stub.Stub
	scriptPath string
	logPath    string
	lock       sync.Mutex
}

func main() {
	p := &plugin{scriptPath: os.Getenv("NRI_TEST_SCRIPT"), logPath: os.Getenv("NRI_TEST_LOG")}
	options := []stub.Option{stub.WithOnClose(func() { os.Exit(0) })}
	if socket := os.Getenv("NRI_TEST_SOCKET"); socket != "" {
		options = append(options, stub.WithSocketPath(socket))
		options = append(options, stub.WithPluginName(os.Getenv("NRI_TEST_NAME")), stub.WithPluginIdx(os.Getenv("NRI_TEST_INDEX")))
	} else {
		// Started by the daemon, with a fixed environment: the files lie beside the program.
		p.scriptPath, p.logPath = os.Args[0]+".script", os.Args[0]+".log"
	}
	var err error
	if p.stub, err = stub.New(subject(p), options...); err != nil {
		fail(err)
	}
	if err = p.stub.Run(context.Background()); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (p *plugin) read() script {
	var s script
	bytes, err := os.ReadFile(p.scriptPath)
	if err == nil {
		err = json.Unmarshal(bytes, &s)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		fail(err)
	}
	return s
}

func (p *plugin) write(l line) {
	p.lock.Lock()
	defer p.lock.Unlock()
	file, err := os.OpenFile(p.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fail(err)
	}
	defer file.Close()
	bytes, err := json.Marshal(l)
	if err != nil {
		fail(err)
	}
	if _, err = file.Write(append(bytes, '\n')); err != nil {
		fail(err)
	}
}

func messageOf(m proto.Message) json.RawMessage {
	bytes, err := protojson.Marshal(m)
	if err != nil {
		fail(err)
	}
	return bytes
}

func updatesOf(raw []json.RawMessage) []*api.ContainerUpdate {
	var updates []*api.ContainerUpdate
	for _, one := range raw {
		update := &api.ContainerUpdate{}
		if err := protojson.Unmarshal(one, update); err != nil {
			fail(err)
		}
		updates = append(updates, update)
	}
	return updates
}

// event logs an event and does what the script says of it.
func (p *plugin) event(l line) (script, error) {
	s := p.read()
	p.write(l)
	if delay := s.DelayMs[l.Event]; delay > 0 {
		time.Sleep(time.Duration(delay) * time.Millisecond)
	}
	for _, name := range s.Exit {
		if name == l.Event {
			os.Exit(3)
		}
	}
	for _, name := range s.Garbage {
		if name == l.Event {
			_, _ = os.NewFile(3, "socket").Write(make([]byte, 64, 64))
			_, _ = os.NewFile(3, "socket").WriteString("\xff\xff\xff\xff\xff\xff\xff\xff garbage")
			time.Sleep(time.Minute)
		}
	}
	if raw := s.Ask[l.Event]; len(raw) > 0 {
		failed, err := p.stub.UpdateContainers(updatesOf(raw))
		answer := line{Event: "answer"}
		for _, one := range failed {
			answer.Failed = append(answer.Failed, one.ContainerId)
		}
		if err != nil {
			answer.Error = err.Error()
		}
		p.write(answer)
	}
	if reason := s.Refuse[l.Event]; reason != "" {
		return s, errors.New(reason)
	}
	return s, nil
}

func (p *plugin) podEvent(name string, pod *api.PodSandbox) error {
	_, err := p.event(line{Event: name, Pod: pod.GetName(), Message: messageOf(pod)})
	return err
}

func (p *plugin) containerEvent(name string, pod *api.PodSandbox, container *api.Container) (script, error) {
	return p.event(line{Event: name, Pod: pod.GetName(), Container: container.GetName(), Message: messageOf(container)})
}

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (api.EventMask, error) {
	s, err := p.event(line{Event: "Configure", Config: config, Runtime: runtime + " " + version})
	if err != nil || len(s.Events) == 0 {
		return 0, err
	}
	return api.ParseEventMask(s.Events...)
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	l := line{Event: "Synchronize"}
	for _, pod := range pods {
		l.Pods = append(l.Pods, pod.GetName())
	}
	for _, container := range containers {
		l.Names = append(l.Names, container.GetName())
	}
	s, err := p.event(l)
	return updatesOf(s.Updates["Synchronize"]), err
}

func (p *plugin) Shutdown(context.Context) {
	p.write(line{Event: "Shutdown"})
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("RunPodSandbox", pod)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("StopPodSandbox", pod)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("RemovePodSandbox", pod)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	s, err := p.containerEvent("CreateContainer", pod, container)
	if err != nil {
		return nil, nil, err
	}
	var adjustment *api.ContainerAdjustment
	if raw, found := s.Adjust[container.GetName()]; found {
		adjustment = &api.ContainerAdjustment{}
		if err := protojson.Unmarshal(raw, adjustment); err != nil {
			fail(err)
		}
	}
	return adjustment, updatesOf(s.Updates["CreateContainer"]), nil
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	_, err := p.containerEvent("PostCreateContainer", pod, container)
	return err
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	_, err := p.containerEvent("StartContainer", pod, container)
	return err
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	_, err := p.containerEvent("PostStartContainer", pod, container)
	return err
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container, resources *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	s, err := p.event(line{Event: "UpdateContainer", Pod: pod.GetName(), Container: container.GetName(), Message: messageOf(resources)})
	return updatesOf(s.Updates["UpdateContainer"]), err
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	_, err := p.containerEvent("PostUpdateContainer", pod, container)
	return err
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	s, err := p.containerEvent("StopContainer", pod, container)
	return updatesOf(s.Updates["StopContainer"]), err
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	_, err := p.containerEvent("RemoveContainer", pod, container)
	return err
}
