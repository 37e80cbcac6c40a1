//go:build new

package main

import (
	"context"
	"errors"

	"github.com/containerd/nri/pkg/api"
)

// What later versions added.
type newPlugin struct {
	*plugin
}

func subject(p *plugin) interface{} { return &newPlugin{p} }

func (p *newPlugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, _, resources *api.LinuxResources) error {
	_, err := p.event(line{Event: "UpdatePodSandbox", Pod: pod.GetName(), Message: messageOf(resources)})
	return err
}

func (p *newPlugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("PostUpdatePodSandbox", pod)
}

func (p *newPlugin) ValidateContainerAdjustment(_ context.Context, request *api.ValidateContainerAdjustmentRequest) error {
	s, err := p.event(line{Event: "ValidateContainerAdjustment", Container: request.GetContainer().GetName()})
	if err == nil && s.Invalid != "" {
		err = errors.New(s.Invalid)
	}
	return err
}
